/** Wakes whoever follows a migration. It carries nothing: followers read the store, so a slow one costs no memory. */

export interface Watch {
  wake(id: string): void;
  /** Resolves at the next wake of `id`, after `timeoutMs`, or when `signal` aborts; never rejects. */
  wait(id: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export function createWatch(): Watch {
  const sleepers = new Map<string, Set<() => void>>();
  return {
    wake: (id) => {
      for (const wakeUp of [...(sleepers.get(id) ?? [])]) wakeUp();
    },
    wait: (id, timeoutMs, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) {
          resolve();
          return;
        }
        const own = sleepers.get(id) ?? new Set();
        sleepers.set(id, own);
        const wakeUp = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", wakeUp);
          own.delete(wakeUp);
          if (own.size === 0 && sleepers.get(id) === own) sleepers.delete(id);
          resolve();
        };
        const timer = setTimeout(wakeUp, timeoutMs);
        signal.addEventListener("abort", wakeUp, { once: true });
        own.add(wakeUp);
      }),
  };
}
