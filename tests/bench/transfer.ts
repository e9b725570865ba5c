/**
 * `npm run bench:transfer [-- --json] [--runs N] [--scale N] [--parts a,b] [--save FILE]`: our shipper against `tar | nc` and `rsync`
 * between the same two nodes. --scale 0.1 makes everything a tenth as large. --save keeps the samples in a file, and adds to those of
 * other parts that are there. With --json one object of ratios is the last line of stdout; a ratio that has nothing to be made of is
 * left out.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { startBenchLab } from "../helpers/bench/bench-lab.ts";
import { describeMachine } from "../helpers/bench/machine.ts";
import { choose } from "../helpers/bench/options.ts";
import { removeContainer } from "../helpers/bench/shipper-run.ts";
import { parts } from "../helpers/bench/transfer/parts.ts";
import { transferRatios, type TransferReport } from "../helpers/bench/transfer/result.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      runs: { type: "string", default: "5" },
      scale: { type: "string", default: "1" },
      parts: { type: "string" },
      save: { type: "string" },
    },
  });
  const [runs, scale] = [Number(values.runs), Number(values.scale)];
  if (!Number.isInteger(runs) || runs < 1 || !(scale > 0 && scale <= 1))
    throw new Error("--runs: a whole number from 1 on; --scale: above 0, up to 1");
  const chosen = choose("--parts", parts, ({ name }) => name, values.parts);
  const size = (whole: number): number => Math.max(1, Math.round(whole * scale));
  const { save } = values;
  const before = save !== undefined && existsSync(save) ? read(save) : undefined;
  if (before !== undefined && before.scale !== scale)
    throw new Error(`${save} has samples with --scale ${before.scale}: name another file, or ask for the same`);
  await using bench = await startBenchLab({ log: say, podman: false });
  const machine = await describeMachine(bench);
  const report: TransferReport = { machines: {}, scale, samples: {} };
  for (const { name, measure } of chosen) {
    report.samples[name] = await measure({ bench, say, runs, size });
    report.machines[name] = machine;
    if (save !== undefined) writeFileSync(save, `${JSON.stringify(beside(before, report), undefined, 2)}\n`);
  }
  await Promise.all([removeContainer(bench.a), removeContainer(bench.b)]);
  const result = transferRatios(report.samples);
  process.stdout.write(`${values.json ? JSON.stringify(result) : JSON.stringify(result, undefined, 2)}\n`);
});

/** The report, and the parts of an earlier one that it does not have. */
function beside(before: TransferReport | undefined, { machines, scale, samples }: TransferReport): TransferReport {
  return {
    machines: { ...before?.machines, ...machines },
    scale,
    samples: { ...before?.samples, ...samples },
  };
}

function read(file: string): TransferReport {
  return JSON.parse(readFileSync(file, "utf8")) as TransferReport;
}
