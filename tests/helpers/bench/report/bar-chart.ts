/** Horizontal bars on a logarithmic scale, in groups, with the range of the runs as a thin line. Pure. */
import type { Summary } from "../statistics.ts";
import { colours, element, label, picture } from "./svg.ts";

export interface Bar {
  readonly label: string;
  /** Ours, or a peer's. */
  readonly isOurs: boolean;
  /** Absent where there is nothing to show; the bar's place stays. */
  readonly value: Summary | undefined;
}

export interface BarGroup {
  readonly title: string;
  readonly bars: readonly Bar[];
}

export interface BarChart {
  readonly title: string;
  readonly groups: readonly BarGroup[];
  readonly format: (value: number) => string;
}

const width = 760;
const left = 150;
const right = 90;
const rowHeight = 18;
const groupGap = 26;
const top = 34;

export function barChart({ title, groups, format }: BarChart): string {
  const values = groups.flatMap(({ bars }) =>
    bars.flatMap(({ value }) => (value === undefined ? [] : [value.min, value.max])),
  );
  if (values.length === 0) throw new Error(`there is nothing to show in "${title}"`);
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...values) * 1.001));
  const place = (value: number): number =>
    left + ((width - left - right) * Math.log10(value / low)) / Math.log10(high / low);
  const height = top + groups.reduce((sum, { bars }) => sum + groupGap + bars.length * rowHeight, 0) + 24;
  const parts = [label(8, 18, title, { "font-size": 14, "font-weight": 600 })];
  for (let tick = low; tick <= high * 1.001; tick *= 10) {
    const x = place(tick);
    parts.push(element("line", { x1: x, x2: x, y1: top, y2: height - 20, stroke: colours.line }));
    parts.push(label(x, height - 6, format(tick), { "text-anchor": "middle" }));
  }
  let y = top;
  for (const group of groups) {
    y += groupGap;
    parts.push(label(8, y - 7, group.title, { "font-weight": 600 }));
    for (const bar of group.bars) {
      parts.push(...drawBar(bar, y, place, low, format));
      y += rowHeight;
    }
  }
  return picture(width, height, title, parts);
}

function drawBar(
  { label: name, isOurs, value }: Bar,
  y: number,
  place: (value: number) => number,
  low: number,
  format: (value: number) => string,
): string[] {
  const middle = y + rowHeight / 2;
  const parts = [label(left - 8, middle + 4, name, { "text-anchor": "end" })];
  if (value === undefined) return [...parts, label(left + 4, middle + 4, "failed")];
  const fill = isOurs ? colours.ours : colours.theirs;
  const end = place(value.median);
  return [
    ...parts,
    element("rect", { x: place(low), y: y + 3, width: Math.max(1, end - place(low)), height: rowHeight - 6, fill }),
    element("line", { x1: place(value.min), x2: place(value.max), y1: middle, y2: middle, stroke: colours.accent }),
    label(Math.max(end, place(value.max)) + 5, middle + 4, format(value.median)),
  ];
}
