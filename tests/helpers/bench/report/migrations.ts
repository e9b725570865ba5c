/** The README's part on migrations, and its pictures. Pure. */
import { charts } from "./charts.ts";
import type { Matrix } from "./matrix.ts";
import type { Section } from "./sections.ts";
import { describeSittings } from "./sittings.ts";
import { resultTable } from "./table.ts";
import { marginTable, starNote, targetTable } from "./targets.ts";

export function migrationsSection(matrix: Matrix): Section {
  const pictures = charts(matrix.runs);
  const summary = [targetTable(matrix), marginTable(matrix)];
  return {
    name: "bench",
    pictures,
    content: [
      `${describeSittings(matrix.sittings)} Medians, with the range in brackets.`,
      ...summary,
      ...starNote(summary.join("")),
      ...pictures.map(({ name, title }) => `![${title}](docs/bench/${name})`),
      ...[...Map.groupBy(matrix.runs, ({ link }) => link)].map(([link, cells]) =>
        [`<details><summary>All numbers, ${link} link</summary>`, resultTable(cells), "</details>"].join("\n\n"),
      ),
    ].join("\n\n"),
  };
}
