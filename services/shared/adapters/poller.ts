/** poll(2): waits for descriptors in the calling thread, which does nothing else meanwhile. */
import { constants } from "node:os";
import koffi from "koffi";
import { LinuxError } from "./linux.ts";

const poll = koffi.load(null).func("int poll(void *, unsigned long, int)") as (...args: unknown[]) => number;

const entryBytes = 8;
const eventsAt = 4;
const answerAt = 6;
const bits = { readable: 1, writable: 4 } as const;

export interface Watched {
  readonly fd: number;
  /** Whether what comes is of interest, and room to write. */
  readonly isReading: boolean;
  readonly isWriting: boolean;
  /** Something came, or the other end is gone; or there is room to write. */
  readonly onReady: () => void;
}

export class Poller {
  #entries = Buffer.alloc(16 * entryBytes);

  /**
   * Waits up to `timeoutMs`, whole milliseconds, and calls `onReady` of those that are ready. Answers how many milliseconds
   * it has waited. Throws LinuxError.
   */
  wait(watched: readonly Watched[], timeoutMs: number): number {
    if (watched.length * entryBytes > this.#entries.length)
      this.#entries = Buffer.alloc(2 * watched.length * entryBytes);
    const entries = this.#entries;
    for (const [at, { fd, isReading, isWriting }] of watched.entries()) {
      entries.writeInt32LE(fd, at * entryBytes);
      const events = (isReading ? bits.readable : 0) | (isWriting ? bits.writable : 0);
      entries.writeInt32LE(events, at * entryBytes + eventsAt);
    }
    const from = performance.now();
    const ready = poll(entries, watched.length, timeoutMs);
    const errno = ready < 0 ? koffi.errno() : 0;
    const waitedMs = performance.now() - from;
    if (ready < 0 && errno !== constants.errno.EINTR) throw new LinuxError("poll", errno);
    if (ready <= 0) return waitedMs;
    for (const [at, { onReady }] of watched.entries())
      if (entries.readInt16LE(at * entryBytes + answerAt) !== 0) onReady();
    return waitedMs;
  }
}
