/**
 * How long a thread that goes before all others has been busy without a pause. Whoever asks it for more than it can do,
 * without end, is not to have its processor: then it rests, and everybody else has a turn.
 */

/** A wait that is shorter found work there already. */
const idleMs = 0.05;
const mostBusyMs = 10;
/** Long enough for others to get something done, and short for who waits for a page. */
export const restMs = 2;

export class BusySpell {
  #begunAt: number;

  /** Times are of `performance.now`. */
  constructor(now: number) {
    this.#begunAt = now;
  }

  /**
   * The thread has waited so long for work, and done by now what there was. Answers whether it is to rest; then that is
   * taken for done.
   */
  waited(waitedMs: number, now: number): boolean {
    if (waitedMs >= idleMs) this.#begunAt = now;
    if (now - this.#begunAt < mostBusyMs) return false;
    this.#begunAt = now + restMs;
    return true;
  }
}
