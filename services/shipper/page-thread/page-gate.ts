/**
 * Keeps back pages that nobody waits for, while frames wait to leave that the resume waits for: these go by other
 * connections, but all share one link. The main thread closes and opens it; those that serve pages look at it.
 */
const at = { closed: 0, met: 1 } as const;

export class PageGate {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  close(): void {
    Atomics.store(this.#words, at.closed, 1);
  }

  /** Answers whether somebody has met it closed: he is to be told. */
  open(): boolean {
    Atomics.store(this.#words, at.closed, 0);
    return Atomics.exchange(this.#words, at.met, 0) === 1;
  }

  /** Whoever is told that it is, is told when it is not any more. */
  get isClosed(): boolean {
    if (Atomics.load(this.#words, at.closed) === 0) return false;
    Atomics.store(this.#words, at.met, 1);
    // It may have been opened just before, by somebody who saw nobody wait.
    return Atomics.load(this.#words, at.closed) === 1;
  }
}
