/**
 * `npm run bench:report -- [FILE] [--transfer FILE]`: tables and pictures from the JSON of `npm run bench`, and the table of what
 * `npm run bench:transfer -- --save FILE` kept, into README.md and docs/bench/.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { charts } from "../helpers/bench/report/charts.ts";
import type { Machine } from "../helpers/bench/machine.ts";
import type { Cell } from "../helpers/bench/report/result.ts";
import { replaceSection } from "../helpers/bench/report/sections.ts";
import { resultTable } from "../helpers/bench/report/table.ts";
import { transferTable } from "../helpers/bench/report/transfer-table.ts";
import type { TransferReport } from "../helpers/bench/transfer/result.ts";
import { projectRoot } from "../helpers/lab/images.ts";

await runMain(() => {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { transfer: { type: "string" } } });
  const [file] = positionals;
  if (file === undefined && values.transfer === undefined)
    throw new Error("usage: npm run bench:report -- [FILE] [--transfer FILE]");
  if (file !== undefined) replaceInReadme("bench", migrationsOf(read(file) as MigrationsReport));
  if (values.transfer !== undefined) {
    const { machine, samples } = read(values.transfer) as TransferReport;
    replaceInReadme("bench:transfer", `Both nodes on ${describe(machine)}.\n\n${transferTable(samples)}`);
  }
  return Promise.resolve();
});

interface MigrationsReport {
  machine: Machine;
  runs: Cell[];
}

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, "utf8"));
}

function replaceInReadme(section: string, content: string): void {
  const readme = join(projectRoot, "README.md");
  writeFileSync(readme, replaceSection(readFileSync(readme, "utf8"), section, content));
}

function describe({ cores, memoryGb, kernel, versions }: Machine): string {
  return `one machine with ${cores} cores and ${memoryGb} GB, Linux ${kernel}, Docker ${versions["docker"] ?? "?"}`;
}

/** The benchmark of migrations; its pictures go into docs/bench/. */
function migrationsOf({ machine, runs }: MigrationsReport): string {
  const directory = join(projectRoot, "docs/bench");
  mkdirSync(directory, { recursive: true });
  const pictures = charts(runs);
  for (const { name, svg } of pictures) writeFileSync(join(directory, name), svg);
  const { versions } = machine;
  return [
    `Both nodes, the client and the planner on ${describe(machine)}, runc ${versions["runc"] ?? "?"}, ` +
      `CRIU ${versions["criu"] ?? "?"}, Podman ${versions["podman"] ?? "?"}. Medians, with the range in brackets.`,
    ...pictures.map(({ name, title }) => `![${title}](docs/bench/${name})`),
    resultTable(runs),
  ].join("\n\n");
}
