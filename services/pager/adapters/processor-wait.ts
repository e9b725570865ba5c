/** How long the calling thread has waited for a processor: /proc/thread-self/schedstat (Documentation/scheduler/sched-stats.rst). */
import { openSync, readSync } from "node:fs";

/** Three numbers of 20 digits at most. */
const mostBytes = 64;

export class ProcessorWait {
  /** Of the thread that opens it, whoever reads; undefined where it is not to be had. */
  readonly #fd = openCounters();
  readonly #bytes = Buffer.alloc(mostBytes);
  #waitedMs = this.#read();
  #askedAt = performance.now();

  /**
   * Of the time since this was asked last, the share in which the thread would have run and had to wait: 0 to 1. It is 0
   * when that is not known.
   */
  share(): number {
    const now = performance.now();
    const waitedMs = this.#read();
    const share = (waitedMs - this.#waitedMs) / (now - this.#askedAt);
    this.#waitedMs = waitedMs;
    this.#askedAt = now;
    return Math.min(1, Math.max(0, share));
  }

  #read(): number {
    if (this.#fd === undefined) return 0;
    try {
      const text = this.#bytes.toString("latin1", 0, readSync(this.#fd, this.#bytes, 0, mostBytes, 0));
      return Number(text.split(" ")[1] ?? 0) / 1e6;
    } catch {
      return 0;
    }
  }
}

function openCounters(): number | undefined {
  try {
    return openSync("/proc/thread-self/schedstat", "r");
  } catch {
    // Such a kernel does not count, or there is no descriptor left: nothing depends on it.
    return undefined;
  }
}
