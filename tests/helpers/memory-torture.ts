/** The program that uses its memory in every way there is (lab/services-image/memory-torture.c), and what it says of it. */

/** What it writes, five times a second. */
export interface TortureReport {
  /** How often its slowest thread has compared all of its memory, from end to end. */
  sweeps: number;
  rounds: number;
  wrong: number;
}

/** Undefined when the line is no report: then it says what is wrong. */
export function parseTorture(line: string): TortureReport | undefined {
  const [sweeps, rounds, wrong] = /^sweeps (\d+) rounds (\d+) wrong (\d+)$/.exec(line)?.slice(1).map(Number) ?? [];
  return sweeps === undefined || rounds === undefined || wrong === undefined ? undefined : { sweeps, rounds, wrong };
}

export interface TortureOptions {
  processes: number;
  /** Of each process. */
  threads: number;
  /** Of all threads together. */
  megabytes: number;
  seed: number;
}

export const tortureCommand = ({ processes, threads, megabytes, seed }: TortureOptions): string[] => [
  "memory-torture",
  ...[processes, threads, megabytes, seed].map(String),
];
