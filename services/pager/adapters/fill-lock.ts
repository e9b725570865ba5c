/**
 * Keeps two threads out of each other's way: one hears from the kernel what changes in the processes' memory, another
 * fills pages in by what was heard so far. What is known has a generation, and it is renewed, under the lock, with each
 * change that is heard; who fills looks, under the lock, whether what it goes by is still the latest.
 *
 * The lock is a futex that passes priority on (futex(2), FUTEX_LOCK_PI): whoever holds it while the hearing thread
 * waits runs as urgently as that one, instead of waiting itself for a processor.
 */
import { constants } from "node:os";
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import { giveWay } from "../../shared/adapters/thread-priority.ts";

const libc = koffi.load(null);
const syscall = libc.func("long syscall(long, void *, int, int, void *, void *, int)") as (
  ...args: unknown[]
) => number;
const threadId = libc.func("int gettid()") as () => number;

const futexNumber = process.arch === "arm64" ? 98 : 202;
const privateFlag = 128;
/** Of the lock's word: who holds it. The kernel's marks stand in the other bits. */
const threadMask = 0x3fff_ffff;
const operations = { lock: 6 | privateFlag, unlock: 7 | privateFlag } as const;

/** Of the shared memory: the lock's word, the generation, and how many faults were answered. */
export const fillLockBytes = 12;

export class FillLock {
  readonly #words: Int32Array;
  readonly #address: bigint;
  readonly #owner = threadId();
  #givenWay = 0;

  /** Each thread has its own, over the same memory, which began as zeros. */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, fillLockBytes / Int32Array.BYTES_PER_ELEMENT);
    this.#address = koffi.address(Buffer.from(memory));
  }

  /** The generation of what is known; for the thread that hears. */
  get generation(): number {
    return Atomics.load(this.#words, 1);
  }

  /** What was known is not the latest any more. To be called by the thread that hears, under the lock. */
  renew(): void {
    Atomics.add(this.#words, 1, 1);
  }

  /** A thread that waited for its page has it, and is to run. */
  noteAnswered(): void {
    Atomics.add(this.#words, 2, 1);
  }

  /** Lets threads run that were answered since this was called last; for the thread that fills pages in. */
  giveWay(): void {
    const answered = Atomics.load(this.#words, 2);
    if (answered === this.#givenWay) return;
    this.#givenWay = answered;
    giveWay();
  }

  /** Does `work`, of microseconds, while nobody else holds the lock. Throws LinuxError. */
  exclusively<T>(work: () => T): T {
    this.lock();
    try {
      return work();
    } finally {
      this.unlock();
    }
  }

  /** The same, if `generation` is still the latest; undefined, and nothing done, if not. */
  ifCurrent<T>(generation: number, work: () => T): T | undefined {
    return this.exclusively(() => (this.generation === generation ? work() : undefined));
  }

  /** To be followed by `unlock`, within microseconds. Throws LinuxError. */
  lock(): void {
    for (;;) {
      const holder = Atomics.compareExchange(this.#words, 0, 0, this.#owner);
      if (holder === 0 || syscall(futexNumber, this.#address, operations.lock, 0, null, null, 0) === 0) return;
      const errno = koffi.errno();
      if (errno === constants.errno.EINTR || errno === constants.errno.EAGAIN) continue;
      if (errno !== constants.errno.ESRCH) throw new LinuxError("futex", errno);
      // The thread that held it is gone, and with it what it was doing: whoever is first to find that has it.
      const left = Atomics.load(this.#words, 0);
      const isLeft = (left & threadMask) === (holder & threadMask);
      if (isLeft && Atomics.compareExchange(this.#words, 0, left, this.#owner) === left) return;
    }
  }

  unlock(): void {
    if (Atomics.compareExchange(this.#words, 0, this.#owner, 0) === this.#owner) return;
    if (syscall(futexNumber, this.#address, operations.unlock, 0, null, null, 0) !== 0)
      throw new LinuxError("futex", koffi.errno());
  }
}

/** The locks of several threads that fill pages in, as the thread that hears uses them: all at once. */
export class FillLocks {
  readonly #locks: FillLock[] = [];

  /** One more thread fills pages in from now on, by what is known now. */
  add(lock: FillLock): void {
    while (lock.generation < this.generation) lock.renew();
    this.#locks.push(lock);
  }

  /** The generation of what is known. */
  get generation(): number {
    return this.#locks[0]?.generation ?? 0;
  }

  /** What was known is not the latest any more. To be called under the locks. */
  renew(): void {
    for (const lock of this.#locks) lock.renew();
  }

  /** A thread that waited for its page has it, and is to run. */
  noteAnswered(): void {
    for (const lock of this.#locks) lock.noteAnswered();
  }

  /** Does `work`, of microseconds, while nobody fills anything in. Throws LinuxError. */
  exclusively<T>(work: () => T): T {
    let held = 0;
    try {
      for (const lock of this.#locks) {
        lock.lock();
        held++;
      }
      return work();
    } finally {
      for (const lock of this.#locks.slice(0, held)) lock.unlock();
    }
  }
}
