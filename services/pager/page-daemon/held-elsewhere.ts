/**
 * Which address spaces' descriptors somebody else holds duplicates of. One is closed only after those are: while one is open
 * that nobody reads, forks of the process would wait for ever.
 */

/** Whoever holds duplicates. */
export interface Holder {
  /** False when there is nobody. */
  hold: (id: number, fd: number) => boolean;
  /** Answered by a word that it is let gone. */
  letGo: (id: number) => void;
}

export class HeldElsewhere {
  readonly #holder: Holder | undefined;
  readonly #held = new Map<number, "held" | "to be let go">();

  constructor(holder: Holder | undefined) {
    this.#holder = holder;
  }

  /** Of a new space; or the holder is another one, which holds nothing yet, or there is none any more. */
  hold(id: number, fd: number): void {
    if (this.#holder?.hold(id, fd) === true) this.#held.set(id, "held");
    else this.#held.delete(id);
  }

  /** Whether nobody holds it. Whoever does is asked to let it go, once. */
  isFree(id: number): boolean {
    const state = this.#held.get(id);
    if (state === "held") {
      this.#held.set(id, "to be let go");
      this.#holder?.letGo(id);
    }
    return state === undefined;
  }

  /** It was let go; nothing where it was not asked for. */
  letGone(id: number): void {
    if (this.#held.get(id) === "to be let go") this.#held.delete(id);
  }

  /** Its process is gone: nothing waits for anybody. */
  forget(id: number): void {
    if (this.#held.get(id) === "held") this.#holder?.letGo(id);
    this.#held.delete(id);
  }
}
