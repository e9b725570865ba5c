/**
 * `npm run bench:report -- [FILE] [--transfer FILE] [--memory FILE]`: tables and pictures into README.md and docs/bench/, from the JSON
 * of `npm run bench`, and from what `npm run bench:transfer` and `npm run bench:memory` kept with --save. Each file is about its own
 * part of the README; the others stay as they are.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import type { MemoryReport } from "../helpers/bench/memory/result.ts";
import { parseMatrix } from "../helpers/bench/report/matrix.ts";
import { memorySection } from "../helpers/bench/report/memory.ts";
import { migrationsSection } from "../helpers/bench/report/migrations.ts";
import { replaceSection, type Section } from "../helpers/bench/report/sections.ts";
import { transferSection } from "../helpers/bench/report/transfer-table.ts";
import type { TransferReport } from "../helpers/bench/transfer/result.ts";
import { projectRoot } from "../helpers/lab/images.ts";

await runMain(() => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { transfer: { type: "string" }, memory: { type: "string" } },
  });
  const [file] = positionals;
  const sections: Section[] = [];
  if (file !== undefined) sections.push(migrationsSection(parseMatrix(readFileSync(file, "utf8"), file)));
  if (values.transfer !== undefined) sections.push(transferSection(read(values.transfer) as TransferReport));
  if (values.memory !== undefined) sections.push(memorySection(read(values.memory) as MemoryReport));
  if (sections.length === 0) throw new Error("usage: npm run bench:report -- [FILE] [--transfer FILE] [--memory FILE]");
  sections.forEach(put);
  return Promise.resolve();
});

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, "utf8"));
}

function put({ name, content, pictures }: Section): void {
  const directory = join(projectRoot, "docs/bench");
  mkdirSync(directory, { recursive: true });
  for (const picture of pictures) writeFileSync(join(directory, picture.name), picture.svg);
  const readme = join(projectRoot, "README.md");
  writeFileSync(readme, replaceSection(readFileSync(readme, "utf8"), name, content));
}
