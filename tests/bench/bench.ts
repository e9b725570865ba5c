/**
 * `npm run bench [-- --quick] [--json FILE] [--systems a,b] [--workloads a,b] [--links a,b] [--runs N]`: every system with every
 * workload over every link, on one pair of nodes, interleaved.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { startBenchLab } from "../helpers/bench/bench-lab.ts";
import { runCells } from "../helpers/bench/cells.ts";
import { startCounting } from "../helpers/bench/counters.ts";
import { describeMachine } from "../helpers/bench/machine.ts";
import { links } from "../helpers/bench/link.ts";
import { choose } from "../helpers/bench/options.ts";
import { resultTable } from "../helpers/bench/report/table.ts";
import { systems } from "../helpers/bench/systems/list.ts";
import { workloads } from "../helpers/bench/workloads/list.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      systems: { type: "string" },
      workloads: { type: "string" },
      links: { type: "string" },
      runs: { type: "string" },
    },
  });
  const { quick } = values;
  const chosen = {
    systems: choose("--systems", systems, ({ name }) => name, values.systems),
    workloads: choose("--workloads", quick ? workloads.slice(0, 2) : workloads, ({ name }) => name, values.workloads),
    links: choose("--links", quick ? links.slice(0, 1) : links, (name) => name, values.links),
    runs: Number(values.runs ?? (quick ? 3 : 5)),
  };
  if (!Number.isInteger(chosen.runs) || chosen.runs < 1) throw new Error("--runs: a whole number from 1 on");
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
  await using bench = await startBenchLab({
    log: say,
    signal: interrupted.signal,
    podman: chosen.systems.some(({ name }) => name.startsWith("podman")),
  });
  await startCounting(bench);
  const machine = await describeMachine(bench);
  const runs = await runCells(bench, { ...chosen, say, signal: interrupted.signal });
  const report = { machine, runs };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
  process.stdout.write(`${resultTable(runs)}\n`);
  if (runs.some(({ verified }) => !verified)) process.exitCode = 1;
});
