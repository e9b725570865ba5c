/** Waits for descriptors as the page threads do, but a little in each turn of the event loop, so that a test goes on. */
import { Poller, type Watched } from "../../services/shared/adapters/poller.ts";

export interface Turning extends Watched {
  /** What is to be done in each turn besides. */
  onTurn?: () => void;
}

export class PollLoop {
  readonly #poller = new Poller();
  readonly #watched = new Set<Turning>();
  readonly #timer = setInterval(() => this.#turn(), 1);

  add(watched: Turning): void {
    this.#watched.add(watched);
  }

  delete(watched: Turning): void {
    this.#watched.delete(watched);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #turn(): void {
    this.#poller.wait([...this.#watched], 0);
    for (const { onTurn } of this.#watched) onTurn?.();
  }
}
