/**
 * What was noted of one process's memory, and in which generation: by it, pages that were filled in before are found
 * where they are now.
 */
import type { MemoryChange } from "./memory-events.ts";
import { MissingPages } from "./missing-pages.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";

/** Far more than there can be between a placement and the word that it was filled. */
const usualMost = 4_096;

export class ChangeLog {
  readonly #changes: { generation: number; change: MemoryChange }[] = [];
  readonly #most: number;
  /** Changes up to this generation are not known any more. */
  #forgotten = 0;

  /** Keeps the last `most` changes. */
  constructor(most = usualMost) {
    this.#most = most;
  }

  note(generation: number, change: MemoryChange): void {
    this.#changes.push({ generation, change });
    if (this.#changes.length > this.#most) this.#forgotten = this.#changes.shift()?.generation ?? 0;
  }

  /** What has become of pages that were in a place in some generation; nothing when that is not known any more. */
  follow(generation: number, place: PageRange): PageRange[] {
    if (generation < this.#forgotten) return [];
    const now = new MissingPages([place]);
    for (const { generation: noted, change } of this.#changes) if (noted > generation) now.apply(change);
    return now.all();
  }
}
