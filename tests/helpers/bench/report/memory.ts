/** The README's part on memory after the resume, and its picture. Pure. */
import { middleRun } from "../memory/series.ts";
import type { MemoryReport } from "../memory/result.ts";
import type { Picture } from "./charts.ts";
import { describeSittings } from "./sittings.ts";
import { memoryChart, type Line } from "./memory-chart.ts";
import { memoryTable } from "./memory-table.ts";
import type { Section } from "./sections.ts";

const shown = [
  { system: "dmigrate", name: "Dmigrate", isOurs: true },
  { system: "criu-lazy", name: "CRIU lazy pages", isOurs: false },
];

export function memorySection(report: MemoryReport): Section {
  const lines = shown.flatMap(({ system, name, isOurs }): Line[] => {
    const run = middleRun(report.runs[system] ?? []);
    return run === undefined ? [] : [{ name, isOurs, run }];
  });
  const title = `After the resume: a program with ${report.megabytes} MB that touches page after page`;
  const pictures: Picture[] =
    lines.length === 0 ? [] : [{ name: "memory.svg", title, svg: memoryChart({ title, lines }) }];
  return {
    name: "bench:memory",
    pictures,
    content: [
      `${describeSittings(report.sittings)} Medians, with the range in brackets; the picture shows the run of each that is in the middle.`,
      ...pictures.map(({ name, title: text }) => `![${text}](docs/bench/${name})`),
      memoryTable(report),
    ].join("\n\n"),
  };
}
