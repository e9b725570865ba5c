/**
 * How fast faults are answered where processors are short. A program that was just resumed faults again as soon as it has
 * its page, and the answers go before all else: at two or three processors they would leave the background hardly any, and that needs
 * far less processor time for a page. Slowed down to this pace the program is short of pages for about half as long.
 */

/** From one round of answers to the next, milliseconds; a round answers the faults of all threads whose pages have come. */
const roundMs = 0.65;

export class FaultPace {
  #roundAt = -Infinity;

  /** A round of faults was answered at `now`. How many milliseconds the next is to wait for. */
  pauseMs(now: number, isShort: boolean): number {
    const pauseMs = isShort ? Math.max(0, this.#roundAt + roundMs - now) : 0;
    this.#roundAt = now + pauseMs;
    return pauseMs;
  }
}
