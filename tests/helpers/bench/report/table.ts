/** The results as Markdown tables. Pure. */
import type { Summary } from "../statistics.ts";
import type { Cell } from "./result.ts";

interface Column {
  readonly title: string;
  readonly show: (cell: Cell) => string;
}

const show = (summary: Summary | undefined, format: (value: number) => string): string => {
  if (summary === undefined) return "–";
  const { median, min, max } = summary;
  return format(min) === format(max) ? format(median) : `${format(median)} (${format(min)}–${format(max)})`;
};

/** Milliseconds up to 10 s, then seconds. */
export const duration = (ms: number): string => (ms < 10_000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

const columns: readonly Column[] = [
  { title: "system", show: ({ system }) => system },
  { title: "downtime", show: ({ downtimeMs }) => show(downtimeMs, duration) },
  { title: "total", show: ({ totalMs }) => show(totalMs, duration) },
  { title: "p99 as before after", show: ({ recoveredMs }) => show(recoveredMs, duration) },
  { title: "on the wire", show: ({ bytesOnWire }) => show(bytesOnWire, megabytes) },
  { title: "CPU", show: ({ cpuSeconds }) => show(cpuSeconds, (seconds) => `${seconds.toFixed(1)} s`) },
  { title: "memory of services", show: ({ servicePeakMb }) => show(servicePeakMb, (mb) => `${mb.toFixed(0)} MB`) },
  {
    title: "data",
    show: ({ verified, n, errors }) => (verified ? `verified, n=${n}` : `failed: ${shorten(errors[0] ?? "no run")}`),
  },
];

const shorten = (text: string): string => text.split("\n")[0]?.slice(0, 120).replaceAll("|", "\\|") ?? "";

/** A table for each workload and link, in the order of the cells. */
export function resultTable(cells: readonly Cell[]): string {
  return [...Map.groupBy(cells, ({ workload, link }) => `${workload}, ${link} link`)]
    .map(
      ([title, rows]) =>
        `#### ${title}\n\n${table(
          columns.map((column) => column.title),
          rows.map((cell) => columns.map((column) => column.show(cell))),
        )}`,
    )
    .join("\n\n");
}

/** A Markdown table with its columns in line, as Prettier would have it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) => Math.max(3, title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, at) => (cells[at] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...rows.map(line)].join("\n");
}
