/** Work made of many short system calls lets the process's other work in every few milliseconds. */
import { setImmediate } from "node:timers/promises";

const budgetMs = 4;
let since = performance.now();

/** Undefined while there is time left; otherwise to be awaited. Throws what `signal` was aborted with. */
export function breathe(signal: AbortSignal): Promise<void> | undefined {
  if (performance.now() - since < budgetMs) return undefined;
  signal.throwIfAborted();
  return pause();
}

async function pause(): Promise<void> {
  await setImmediate();
  since = performance.now();
}
