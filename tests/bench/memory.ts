/**
 * `npm run bench:memory [-- --json] [--runs N] [--mb N] [--save FILE]`: how fast memory follows after the resume, and how long a fault
 * takes, against CRIU's own lazy pages and against what the machine can do. --save keeps all samples in a file, and adds to those
 * that are there. With --json one object of ratios is the last line of stdout; a ratio that has nothing to be made of is left out.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { startBenchLab } from "../helpers/bench/bench-lab.ts";
import { startCounting } from "../helpers/bench/counters.ts";
import { describeMachine } from "../helpers/bench/machine.ts";
import { memoryParts } from "../helpers/bench/memory/parts.ts";
import { addReport, limitsIn, memoryRatios, type MemoryReport } from "../helpers/bench/memory/result.ts";
import { medianOf } from "../helpers/bench/statistics.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      runs: { type: "string", default: "5" },
      mb: { type: "string", default: "1000" },
      save: { type: "string" },
    },
  });
  const [runs, megabytes] = [Number(values.runs), Number(values.mb)];
  if (!Number.isInteger(runs) || runs < 1 || !Number.isInteger(megabytes) || megabytes < 1)
    throw new Error("--runs and --mb: whole numbers from 1 on");
  const { save } = values;
  const before =
    save !== undefined && existsSync(save) ? (JSON.parse(readFileSync(save, "utf8")) as MemoryReport) : undefined;
  if (before !== undefined && before.megabytes !== megabytes)
    throw new Error(`${save} has runs with --mb ${before.megabytes}: name another file, or ask for the same`);
  await using bench = await startBenchLab({ log: say, podman: false });
  await startCounting(bench);
  const report: MemoryReport = { sittings: [await describeMachine(bench)], megabytes, samples: {}, runs: {} };
  for (let run = 1; run <= runs; run++) {
    for (const measure of memoryParts) await measure({ bench, report, say, name: `${run}/${runs}` });
    // After each round: what is kept outlives a benchmark that is killed.
    if (save !== undefined) writeFileSync(save, `${JSON.stringify(addReport(before, report))}\n`);
  }
  const limits = limitsIn(report.samples);
  if (limits.length > 0) say(`limit ${(medianOf(limits) / 1e9).toFixed(2)} GB/s`);
  const result = memoryRatios(report.samples);
  process.stdout.write(`${values.json ? JSON.stringify(result) : JSON.stringify(result, undefined, 2)}\n`);
});
