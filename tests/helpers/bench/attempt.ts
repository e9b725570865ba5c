/** One measurement that may fail: it is reported, it is bounded, and the benchmark goes on. */

/** Resolves when the work has ended, however it did, or was given up after `timeoutMs` and what a run does beside. */
export async function attempt(
  say: (line: string) => void,
  name: string,
  timeoutMs: number,
  work: () => Promise<void>,
): Promise<void> {
  const began = performance.now();
  try {
    await within(work(), timeoutMs + besideMs);
    say(`bench: ${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    say(`bench: ${name}: FAILED: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** For what a run does beside the migration: fill, settle, recover, verify. */
const besideMs = 180_000;

/** A run that hangs somewhere is left behind; the next one clears the nodes first. */
export async function within<T>(work: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`it did not end within ${ms} ms`)), ms);
  const interrupt = (): void => late.reject(new Error("interrupted"));
  signal?.addEventListener("abort", interrupt, { once: true });
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", interrupt);
  }
}
