/** `npm run bench:report -- FILE`: tables and pictures from the JSON of `npm run bench`, into README.md and docs/bench/. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { charts } from "../helpers/bench/report/charts.ts";
import type { Machine } from "../helpers/bench/machine.ts";
import type { Cell } from "../helpers/bench/report/result.ts";
import { replaceSection } from "../helpers/bench/report/sections.ts";
import { resultTable } from "../helpers/bench/report/table.ts";
import { projectRoot } from "../helpers/lab/images.ts";

await runMain(() => {
  const [file] = parseArgs({ allowPositionals: true }).positionals;
  if (file === undefined) throw new Error("usage: npm run bench:report -- FILE");
  const { machine, runs } = JSON.parse(readFileSync(file, "utf8")) as { machine: Machine; runs: Cell[] };
  const directory = join(projectRoot, "docs/bench");
  mkdirSync(directory, { recursive: true });
  const pictures = charts(runs);
  for (const { name, svg } of pictures) writeFileSync(join(directory, name), svg);
  const { cores, memoryGb, kernel, versions } = machine;
  const content = [
    `Both nodes, the client and the planner on one machine with ${cores} cores and ${memoryGb} GB, Linux ${kernel}, ` +
      `Docker ${versions["docker"] ?? "?"}, runc ${versions["runc"] ?? "?"}, CRIU ${versions["criu"] ?? "?"}, Podman ${versions["podman"] ?? "?"}. ` +
      "Medians, with the range in brackets.",
    ...pictures.map(({ name, title }) => `![${title}](docs/bench/${name})`),
    resultTable(runs),
  ].join("\n\n");
  const readme = join(projectRoot, "README.md");
  writeFileSync(readme, replaceSection(readFileSync(readme, "utf8"), "bench", content));
  return Promise.resolve();
});
