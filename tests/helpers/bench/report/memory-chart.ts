/** After the resume: how fast memory arrives, and below, on the same time, how long each fault took (logarithmic). Pure. */
import { arrivedAfterMs, throughput, type MemoryRun, type Point } from "../memory/series.ts";
import { colours, element, label, picture } from "./svg.ts";
import { ticks } from "./ticks.ts";

export interface Line {
  readonly name: string;
  /** Ours, or a peer's. */
  readonly isOurs: boolean;
  readonly run: MemoryRun;
}

export interface MemoryChart {
  readonly title: string;
  readonly lines: readonly Line[];
}

const binMs = 50;
const width = 760;
const left = 70;
const right = 16;
const panelHeight = 190;
const upperTop = 68;
const lowerTop = upperTop + panelHeight + 34;
const height = lowerTop + panelHeight + 40;
/** Two dots nearer than this, in units of the picture, are one. */
const grid = 0.5;

/** Throws when nothing arrived in any run. */
export function memoryChart({ title, lines }: MemoryChart): string {
  const endMs = Math.max(0, ...lines.map(({ run }) => arrivedAfterMs(run)));
  const speeds = lines.map(({ run }) =>
    throughput(run, binMs).map(({ atMs, value }) => ({ atMs, value: value / 1e6 })),
  );
  const fastest = Math.max(0, ...speeds.flatMap((points) => points.map(({ value }) => value)));
  const slowest = Math.max(0, ...lines.flatMap(({ run }) => run.faultMs.map(({ value }) => value)));
  const quickest = Math.min(
    ...lines.flatMap(({ run }) => run.faultMs.map(({ value }) => value)).filter((ms) => ms > 0),
  );
  if (endMs === 0 || fastest === 0) throw new Error(`there is nothing to show in "${title}"`);
  const x = (ms: number): number => left + ((width - left - right) * ms) / endMs;
  const parts = [label(8, 18, title, { "font-size": 14, "font-weight": 600 }), ...legend(lines)];

  const top = Math.max(...ticks(fastest * 1.25));
  const speedAt = (value: number): number => upperTop + panelHeight * (1 - value / top);
  parts.push(label(8, upperTop - 8, "memory that arrives, MB/s"));
  for (const tick of ticks(top)) parts.push(...level(speedAt(tick), String(tick)));
  lines.forEach((line, at) => {
    const path = (speeds[at] ?? []).map(
      ({ atMs, value }) => `${place(x(Math.min(atMs, endMs)))} ${place(speedAt(value))}`,
    );
    if (path.length > 0)
      parts.push(
        element("path", { d: `M${path.join("L")}`, fill: "none", stroke: colourOf(line), "stroke-width": 1.5 }),
      );
  });

  parts.push(label(8, lowerTop - 8, "a fault's latency, ms (logarithmic)"));
  if (slowest > 0) {
    const [low, high] = [10 ** Math.floor(Math.log10(quickest)), 10 ** Math.ceil(Math.log10(slowest))];
    const latencyAt = (ms: number): number =>
      lowerTop + panelHeight * (1 - Math.log10(ms / low) / Math.max(1, Math.log10(high / low)));
    for (let tick = low; tick <= high * 1.001; tick *= 10)
      parts.push(...level(latencyAt(tick), String(Number(tick.toPrecision(3)))));
    for (const line of lines) {
      const shown = line.run.faultMs.filter(({ atMs, value }) => value > 0 && atMs >= 0 && atMs <= endMs);
      parts.push(
        dots(
          shown.map(({ atMs, value }): Point => ({ atMs: x(atMs), value: latencyAt(value) })),
          colourOf(line),
        ),
      );
    }
  }

  for (const tick of ticks(endMs)) parts.push(label(x(tick), height - 22, String(tick), { "text-anchor": "middle" }));
  parts.push(label((left + width - right) / 2, height - 6, "ms since the resume", { "text-anchor": "middle" }));
  return picture(width, height, title, parts);
}

const colourOf = ({ isOurs }: Line): string => (isOurs ? colours.ours : colours.accent);

function legend(lines: readonly Line[]): string[] {
  return lines.flatMap((line, at) => {
    const x = left + at * 160;
    return [element("rect", { x, y: 28, width: 10, height: 10, fill: colourOf(line) }), label(x + 16, 37, line.name)];
  });
}

const level = (y: number, text: string): string[] => [
  element("line", { x1: left, x2: width - right, y1: y, y2: y, stroke: colours.line }),
  label(left - 6, y + 4, text, { "text-anchor": "end" }),
];

const place = (value: number): number => Number((Math.round(value / grid) * grid).toFixed(1));

/** Thousands of dots as one path of lines without length, each place once. */
function dots(points: readonly Point[], stroke: string): string {
  const places = new Set(points.map(({ atMs, value }) => `M${place(atMs)} ${place(value)}h0`));
  return element("path", {
    d: [...places].join(""),
    stroke,
    fill: "none",
    "stroke-width": 3,
    "stroke-linecap": "round",
    "stroke-opacity": 0.6,
  });
}
