/**
 * The pages of one process's images that the source has not been asked for yet. Forked children share it: what arrives
 * serves all of them.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { PageSet } from "./page-set.ts";

export class WantedPages {
  readonly #unasked = new PageSet();

  constructor(ranges: readonly PageRange[]) {
    for (const { page, pages } of ranges) this.add(page, pages);
  }

  get empty(): boolean {
    return this.#unasked.size === 0;
  }

  /** They must be asked for, again perhaps. */
  add(page: number, pages: number): void {
    this.#unasked.add(page, pages);
  }

  /** Nobody needs them any more. */
  delete(page: number, pages: number): void {
    this.#unasked.delete(page, pages);
  }

  /** Takes the next run to ask for, up to the end of its block of `blockPages`. */
  takeNext(blockPages: number): PageRange | undefined {
    const run = this.#unasked.nextRun(0, blockPages);
    if (run === undefined) return undefined;
    const pages = Math.min(run.end - run.start, blockPages - (run.start % blockPages));
    this.#unasked.delete(run.start, pages);
    return { page: run.start, pages };
  }

  /** Takes what is to be asked for next in the background: all there is of the first unit of `unitPages` that has some. */
  takeUnit(unitPages: number): PageRange[] {
    const first = this.#unasked.nextRun(0, 1)?.start;
    if (first === undefined) return [];
    return this.takeWithin(first - (first % unitPages), unitPages, unitPages);
  }

  /** Takes what there is of a range, in runs of `mostPages` at most. */
  takeWithin(page: number, pages: number, mostPages: number): PageRange[] {
    const taken: PageRange[] = [];
    for (const { start, end } of this.#unasked.within(page, pages)) {
      for (let at = start; at < end; at += mostPages) taken.push({ page: at, pages: Math.min(mostPages, end - at) });
      this.#unasked.delete(start, end - start);
    }
    return taken;
  }
}
