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
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Left to the machine, MB: tmpfs that fills it would take other programs down. */
const reserveMb = 1_500;
/** For what a run does beside the migration: fill, settle, recover, verify. */
const besideMs = 180_000;
const bytesPerSecond: Readonly<Record<Link, number>> = { unlimited: 100e6, "1gbit": 60e6, "100mbit": 8e6 };

export async function runCells(bench: BenchLab, options: CellsOptions): Promise<Cell[]> {
  const { systems, workloads, links, runs, say, signal } = options;
  const cells: Cell[] = [];
  for (const link of links) {
    for (const workload of workloads) {
      const columns = systems.map((system) => ({ system, results: [] as RunResult[], failures: [] as string[] }));
      for (let run = 1; run <= runs; run++) {
        for (const { system, results, failures } of columns) {
          if (signal.aborted) break;
          const name = `${link} ${workload.name} ${system.name} ${run}/${runs}`;
          try {
            refuseWithoutRoom(system, workload);
            const timeoutMs = Math.ceil(60_000 + ((workload.megabytes * 1e6) / bytesPerSecond[link]) * 1000);
            const result = await within(
              measureRun(bench, { system, workload, link, timeoutMs }),
              timeoutMs + besideMs,
              signal,
            );
            if (run === 1) for (const command of result.commands) say(`  ${command}`);
            results.push(result);
            say(`bench: ${name}: ${describe(result)}`);
          } catch (error) {
            const reason = error instanceof Error ? error.message : String(error);
            failures.push(reason);
            say(`bench: ${name}: FAILED: ${reason}`);
          }
        }
      }
      for (const { system, results, failures } of columns)
        cells.push(toCell({ system: system.name, workload: workload.name, link }, results, failures));
    }
  }
  return cells;
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
