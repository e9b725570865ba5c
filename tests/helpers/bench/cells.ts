/** Runs all cells of the benchmark, interleaved: a slow minute of the machine hits every system alike. */
import { within } from "./attempt.ts";
import { availableMemoryMb } from "./memory.ts";
import type { BenchLab } from "./bench-lab.ts";
import type { Link } from "./link.ts";
import { measureRun, type RunResult } from "./measure-run.ts";
import { toCell, type Cell } from "./report/result.ts";
import type { System } from "./systems/system.ts";
import type { Workload } from "./workloads/workload.ts";

export interface CellsOptions {
  readonly systems: readonly System[];
  readonly workloads: readonly Workload[];
  readonly links: readonly Link[];
  readonly runs: number;
  /** When this sitting began: each of its cells says so. */
  readonly sitting: string;
  /** Is given a cell after each of its runs, as far as it has come: what is kept outlives a benchmark that is killed. */
  readonly keep: (cell: Cell) => void;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Left to the machine, MB: tmpfs that fills it would take other programs down. */
const reserveMb = 1_500;
/** For what a run does beside the migration: fill, settle, recover, verify. */
const besideMs = 180_000;
/** A run may be as slow as this: the slowest peer, whose faults come one by one under load, is to end too. */
const slowestBytesPerSecond: Readonly<Record<Link, number>> = { unlimited: 10e6, "1gbit": 10e6, "100mbit": 4e6 };

/** Resolves with all cells that were run; those that an interruption left without a run are not among them. */
export async function runCells(bench: BenchLab, options: CellsOptions): Promise<Cell[]> {
  const { links, workloads, systems, signal } = options;
  const cells: Cell[] = [];
  for (const link of links) {
    for (const workload of workloads) {
      const columns = systems.map((system): Column => ({ system, workload, link, results: [], failures: [] }));
      for (let run = 1; run <= options.runs; run++) {
        for (const column of columns) if (!signal.aborted) await addRun(bench, column, run, options);
      }
      cells.push(...columns.filter(hasRun).map((column) => cellOf(column, options)));
    }
  }
  return cells;
}

interface Column {
  readonly system: System;
  readonly workload: Workload;
  readonly link: Link;
  readonly results: RunResult[];
  readonly failures: string[];
}

const hasRun = ({ results, failures }: Column): boolean => results.length + failures.length > 0;

const cellOf = ({ system, workload, link, results, failures }: Column, { sitting }: CellsOptions): Cell =>
  toCell({ system: system.name, workload: workload.name, link, sitting }, results, failures);

/** One more run of a cell. Its failure is noted and not thrown; an interruption is none. */
async function addRun(bench: BenchLab, column: Column, run: number, options: CellsOptions): Promise<void> {
  const { system, workload, link, results, failures } = column;
  const { say, signal } = options;
  const name = `${link} ${workload.name} ${system.name} ${run}/${options.runs}`;
  try {
    refuseWithoutRoom(system, workload);
    const timeoutMs = Math.ceil(60_000 + ((workload.megabytes * 1e6) / slowestBytesPerSecond[link]) * 1000);
    const measured = measureRun(bench, { system, workload, link, timeoutMs });
    const result = await within(measured, timeoutMs + besideMs, signal);
    if (run === 1) for (const command of result.commands) say(`  ${command}`);
    results.push(result);
    say(`bench: ${name}: ${describe(result)}`);
  } catch (error) {
    if (signal.aborted) return;
    const reason = error instanceof Error ? error.message : String(error);
    failures.push(reason);
    say(`bench: ${name}: FAILED: ${reason}`);
  }
  options.keep(cellOf(column, options));
}

function refuseWithoutRoom(system: System, workload: Workload): void {
  const needed = system.copies * workload.megabytes + reserveMb;
  const available = availableMemoryMb();
  if (needed > available)
    throw new Error(
      `not tried: it needs ${(needed / 1000).toFixed(1)} GB of memory, ${(available / 1000).toFixed(1)} GB are free`,
    );
}

function describe({ downtimeMs, totalMs, recoveredMs, bytesOnWire, cpuSeconds, fault }: RunResult): string {
  return [
    `down ${downtimeMs.toFixed(0)} ms`,
    `total ${totalMs.toFixed(0)} ms`,
    recoveredMs === undefined ? "not recovered" : `recovered after ${recoveredMs.toFixed(0)} ms`,
    `${(bytesOnWire / 1e6).toFixed(1)} MB`,
    `${cpuSeconds.toFixed(1)} s CPU`,
    fault === undefined ? "verified" : `WRONG: ${fault}`,
  ].join(", ");
}
