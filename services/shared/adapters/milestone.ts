/**
 * A file by which one service tells another on its node that a step of a migration is done. It says no more than the
 * answer to the planner does, but without the way over the planner and back, which lies inside the downtime. Whoever
 * waits for it has been told to by the planner, which also hears of the step itself, and of its failure.
 */
import { existsSync, renameSync, watch, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Says that the step is done, with what there is to say of it. The directory must be there. */
export function reach(path: string, text = ""): void {
  // Whoever sees it there sees all of it.
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Resolves once the step is done. Rejects when `signal` is aborted, or the directory is not there. */
export function untilReached(path: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const watcher = watch(dirname(path));
    const settle = (then: () => void): void => {
      signal.removeEventListener("abort", cancel);
      watcher.close();
      then();
    };
    const cancel = (): void => settle(() => reject(signal.reason as Error));
    const look = (): void => {
      if (existsSync(path)) settle(resolve);
    };
    signal.addEventListener("abort", cancel, { once: true });
    watcher.on("error", (error) => settle(() => reject(error)));
    watcher.on("change", look);
    // It may have been done before the watch began.
    look();
  });
}
