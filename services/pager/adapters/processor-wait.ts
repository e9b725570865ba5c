/** How long the calling thread has waited for a processor: /proc/thread-self/schedstat (Documentation/scheduler/sched-stats.rst). */
import { openSync, readSync } from "node:fs";
import { hasErrno } from "../../shared/errors.ts";

/** Three numbers of 20 digits at most. */
const mostBytes = 64;

export class ProcessorWait {
  /** Of the thread that opens it, whoever reads; undefined where the kernel does not keep count. */
  readonly #fd = openCounters();
  readonly #bytes = Buffer.alloc(mostBytes);
  #ranNs = 0;
  #waitedNs = 0;

  /**
   * Of the time in which it wanted to run since this was asked last, the share in which it had to wait: 0 to 1. It is 0
   * when that is not known.
   */
  share(): number {
    if (this.#fd === undefined) return 0;
    const [ran = 0, waited = 0] = this.#bytes
      .toString("latin1", 0, readSync(this.#fd, this.#bytes, 0, mostBytes, 0))
      .split(" ")
      .map(Number);
    const [running, waiting] = [ran - this.#ranNs, waited - this.#waitedNs];
    this.#ranNs = ran;
    this.#waitedNs = waited;
    return waiting > 0 ? waiting / (running + waiting) : 0;
  }
}

function openCounters(): number | undefined {
  try {
    return openSync("/proc/thread-self/schedstat", "r");
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
