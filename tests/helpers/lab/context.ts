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
