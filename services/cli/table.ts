/** Tables and numbers for people. */
import type { Migration } from "../shared/contracts/planner.ts";

/** Columns as wide as their widest cell; those in `right` (by index) aligned to the right. */
export function renderTable(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join("");
}

/** A title and its lines; nothing without any. */
export const renderList = (title: string, lines: readonly string[]): string =>
  lines.length === 0 ? "" : `${title}:\n${lines.map((line) => `  - ${line}\n`).join("")}`;

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? "B"}`;
}

export const formatMs = (ms: number | undefined): string => (ms === undefined ? "-" : `${ms.toFixed(1)} ms`);

/** All there is to know of a migration, as it stands. */
export function renderMigration(migration: Migration): string {
  const { pagesTotal, pagesFaulted, pagesPrefetched, traceId, error } = migration;
  const rows = [
    ["migration", migration.id],
    ["container", migration.container],
    ["from, to", `${migration.from}, ${migration.to}`],
    ["phase", migration.phase],
    ...(migration.abandoned.length === 0 ? [] : [["abandoned", migration.abandoned.join(", ")]]),
    ...migration.stages.map(({ name, ms }) => [`  ${name}`, formatMs(ms)]),
    ["downtime", formatMs(migration.downtimeMs)],
    ["total", formatMs(migration.totalMs)],
    ["sent", formatBytes(migration.bytesSent)],
    ["pages", `${pagesTotal} (${pagesFaulted} faulted, ${pagesPrefetched} prefetched)`],
    ...(traceId === undefined ? [] : [["trace", traceId]]),
    ...(error === undefined ? [] : [["error", `${error.message} [${error.code}]`]]),
  ];
  return renderTable(rows);
}
