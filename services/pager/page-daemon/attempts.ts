/**
 * Work that should not fail, and is to be tried again when it does: what is given up for good would leave a thread
 * waiting, and the drain. That it goes on failing is told, once.
 */

const mostErrors = 20;
const longestPauseMs = 1_000;

export class Attempts {
  readonly #onFailure: (error: unknown) => void;
  #errors = 0;

  /** `onFailure` is told the error by which it is certain that it is no chance. */
  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Told to fail: nothing that can be left is to be tried any more. */
  get failed(): boolean {
    return this.#errors >= mostErrors;
  }

  /** Before the next attempt; the longer the more have failed. Without any, what a change of a process's memory takes. */
  get pauseMs(): number {
    return Math.min(2 ** this.#errors, longestPauseMs);
  }

  /** False when it throws. */
  make(work: () => void): boolean {
    try {
      work();
      // What succeeds now and then is no failure for good.
      if (!this.failed && this.#errors > 0) this.#errors -= 1;
      return true;
    } catch (error) {
      this.#errors += 1;
      if (this.#errors === mostErrors) this.#onFailure(error);
      return false;
    }
  }
}
