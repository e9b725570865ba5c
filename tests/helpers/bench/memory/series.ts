/** How memory arrives and how long faults take, over the time since the resume. Pure. Times in ms. */

/** Something at a time: bytes that are there, a speed, a latency. */
export interface Point {
  readonly atMs: number;
  readonly value: number;
}

/** One migration of the program that times its faults. */
export interface MemoryRun {
  /** Resident memory of the program at the destination, bytes; 0 ms is its first fault there, so its resume. */
  readonly residentBytes: readonly Point[];
  /** Each fault's begin and how long it took, ms. */
  readonly faultMs: readonly Point[];
}

/** When the last memory had arrived. 0 when none did. */
export function arrivedAfterMs({ residentBytes }: MemoryRun): number {
  const most = Math.max(0, ...residentBytes.map(({ value }) => value));
  return Math.max(0, residentBytes.find(({ value }) => value === most)?.atMs ?? 0);
}

/**
 * Bytes per second in bins of this length from 0 until all had arrived, each at the middle of its bin. Between two samples memory is
 * taken to arrive evenly. What left again counts as nothing arrived.
 */
export function throughput(run: MemoryRun, binMs: number): Point[] {
  const { residentBytes } = run;
  const bins = Math.ceil(arrivedAfterMs(run) / binMs);
  return Array.from({ length: bins }, (_, bin) => {
    const [from, until] = [bin * binMs, (bin + 1) * binMs];
    const bytes = valueAt(residentBytes, until) - valueAt(residentBytes, from);
    return { atMs: from + binMs / 2, value: (Math.max(0, bytes) * 1000) / binMs };
  });
}

/** Between the samples around it; the first's before all, the last's after all. */
function valueAt(points: readonly Point[], atMs: number): number {
  const next = points.findIndex((point) => point.atMs >= atMs);
  const [before, after] = [points[next < 0 ? points.length - 1 : next - 1], points[next]];
  if (before === undefined || after === undefined) return (before ?? after)?.value ?? 0;
  return before.value + ((after.value - before.value) * (atMs - before.atMs)) / (after.atMs - before.atMs);
}

/** The run in the middle by how long memory took to arrive: one that stands for all. Undefined when there are none. */
export function middleRun(runs: readonly MemoryRun[]): MemoryRun | undefined {
  const sorted = runs.toSorted((one, other) => arrivedAfterMs(one) - arrivedAfterMs(other));
  return sorted[(sorted.length - 1) >> 1];
}
