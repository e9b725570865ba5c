/**
 * `npm run bench [-- --quick] [--json FILE] [--systems a,b] [--workloads a,b] [--links a,b] [--runs N]`: every system with every
 * workload over every link, on one pair of nodes, interleaved. FILE is written after each run. Cells that are in it already stay,
 * unless this sitting measures them too: the whole can be measured in several sittings.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { startBenchLab } from "../helpers/bench/bench-lab.ts";
import { runCells } from "../helpers/bench/cells.ts";
import { startCounting } from "../helpers/bench/counters.ts";
import { describeMachine } from "../helpers/bench/machine.ts";
import { links } from "../helpers/bench/link.ts";
import { choose } from "../helpers/bench/options.ts";
import { addCell, parseMatrix, type Matrix } from "../helpers/bench/report/matrix.ts";
import { resultTable } from "../helpers/bench/report/table.ts";
import { systems } from "../helpers/bench/systems/list.ts";
import { workloads } from "../helpers/bench/workloads/list.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const nameOf = ({ name }: { name: string }): string => name;
const order = { systems: systems.map(nameOf), workloads: workloads.map(nameOf), links };

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
  const { quick, json } = values;
  const chosen = {
    systems: choose("--systems", systems, nameOf, values.systems),
    workloads: choose("--workloads", quick ? workloads.slice(0, 2) : workloads, nameOf, values.workloads),
    links: choose("--links", quick ? links.slice(0, 1) : links, (name) => name, values.links),
    runs: Number(values.runs ?? (quick ? 3 : 5)),
  };
  if (!Number.isInteger(chosen.runs) || chosen.runs < 1) throw new Error("--runs: a whole number from 1 on");
  let matrix = json !== undefined && existsSync(json) ? read(json) : { sittings: [], runs: [] };
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
  await using bench = await startBenchLab({
    log: say,
    signal: interrupted.signal,
    podman: chosen.systems.some(({ name }) => name.startsWith("podman")),
  });
  await startCounting(bench);
  const machine = await describeMachine(bench);
  const runs = await runCells(bench, {
    ...chosen,
    sitting: machine.at,
    keep: (cell) => {
      matrix = addCell(matrix, machine, cell, order);
      if (json !== undefined) write(json, matrix);
    },
    say,
    signal: interrupted.signal,
  });
  process.stdout.write(`${resultTable(runs)}\n`);
  if (runs.some(({ verified }) => !verified)) process.exitCode = 1;
  if (interrupted.signal.aborted) process.exitCode = 130;
});

function read(file: string): Matrix {
  return parseMatrix(readFileSync(file, "utf8"), file);
}

/** At once or not at all: hours of measuring may stand in it. */
function write(file: string, matrix: Matrix): void {
  const next = `${file}.new`;
  writeFileSync(next, `${JSON.stringify(matrix, undefined, 2)}\n`);
  renameSync(next, file);
}
