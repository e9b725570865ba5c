/**
 * What every step of bringing up the lab is handed: where progress goes and what ends it early. The lab writes nothing to
 * stdout, since `npm run lab` owes its one JSON line to that.
 */

/** Takes one line of progress. */
export type Log = (line: string) => void;

/** Handed down through every step of the lab. */
export interface LabContext {
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
}

/** A log that writes to stderr, each line led by `lab:`. */
export const logToStderr: Log = (line) => void process.stderr.write(`lab: ${line}\n`);

/** Runs one named step and logs how long it took, if it took long enough to notice. */
export async function step<T>({ log }: LabContext, name: string, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const result = await work();
  const seconds = (performance.now() - startedAt) / 1000;
  if (seconds >= 0.05) log(`${name} (${seconds.toFixed(1)} s)`);
  return result;
}

/** All results; if one fails, the others are still waited for, so that what they started can be cleaned up. */
export async function all<T extends readonly unknown[]>(
  work: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  const results = await Promise.allSettled<unknown>(work as readonly Promise<unknown>[]);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
