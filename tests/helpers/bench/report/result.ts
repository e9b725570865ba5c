/** The benchmark's results, as its JSON has them. */
import { summarise, type Summary } from "../statistics.ts";
import type { RunResult } from "../measure-run.ts";

/** One system with one workload over one link: medians and ranges of its runs. A cell without a run that worked has no numbers. */
export interface Cell {
  readonly system: string;
  readonly workload: string;
  readonly link: string;
  /** When the sitting that measured it began: the `at` of its machine. */
  readonly sitting: string;
  /** Runs that went through. */
  readonly n: number;
  readonly downtimeMs?: Summary;
  readonly totalMs?: Summary;
  readonly recoveredMs?: Summary;
  readonly drainP99Ms?: Summary;
  readonly bytesOnWire?: Summary;
  readonly cpuSeconds?: Summary;
  readonly servicePeakMb?: Summary;
  /** All runs went through, and the data was right after each. */
  readonly verified: boolean;
  /** What went wrong, run by run. */
  readonly errors: readonly string[];
  /** What the system ran, in order, in the first run; A and B are the nodes' addresses. */
  readonly commands: readonly string[];
}

const measures = [
  "downtimeMs",
  "totalMs",
  "recoveredMs",
  "drainP99Ms",
  "bytesOnWire",
  "cpuSeconds",
  "servicePeakMb",
] as const;

export function toCell(
  key: Pick<Cell, "system" | "workload" | "link" | "sitting">,
  results: readonly RunResult[],
  failures: readonly string[],
): Cell {
  const numbers: Partial<Record<(typeof measures)[number], Summary>> = {};
  for (const measure of measures) {
    const values = results.flatMap((result) => result[measure] ?? []);
    // A measure that some runs lack is none: what is missing may be the worst.
    if (values.length === results.length && values.length > 0) numbers[measure] = summarise(values);
  }
  const errors = [...failures, ...results.flatMap(({ fault }) => fault ?? [])];
  return {
    ...key,
    n: results.length,
    ...numbers,
    verified: results.length > 0 && errors.length === 0,
    errors,
    commands: results[0]?.commands ?? [],
  };
}
