/**
 * Which pages of one address space are still missing, and where in the images each of them stands. They begin at the
 * same address; an mremap moves pages in memory, while in the images they stay where they were.
 *
 * Kept as one set of page numbers per distance between the two: distance 0 for nearly all, one more per mremap.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import type { MemoryChange } from "./memory-events.ts";
import { PageSet } from "./page-set.ts";

/** Consecutive pages: in memory from `page` on, in the images from `image` on. */
export interface Place {
  page: number;
  image: number;
  pages: number;
}

export class MissingPages {
  /** Page numbers in memory, by their distance from the images. Sets of different distances are disjoint. */
  readonly #byShift = new Map<number, PageSet>();

  constructor(ranges: readonly PageRange[]) {
    for (const { page, pages } of ranges) this.#set(0).add(page, pages);
  }

  /** The same pages, for a forked child; from then on the two go their own ways. */
  clone(): MissingPages {
    const copy = new MissingPages([]);
    for (const [shift, set] of this.#byShift)
      for (const { start, end } of set.all()) copy.#set(shift).add(start, end - start);
    return copy;
  }

  get empty(): boolean {
    return this.#byShift.size === 0;
  }

  /** Where in the images a page of memory stands; undefined when it is not missing. */
  imageOf(page: number): number | undefined {
    for (const [shift, set] of this.#byShift) if (set.has(page)) return page - shift;
    return undefined;
  }

  /** Where pages of the images are missing in memory: nowhere, or in one place, or in parts. */
  placesOf(image: number, pages: number): Place[] {
    const places: Place[] = [];
    for (const [shift, set] of this.#byShift) {
      for (const { start, end } of set.within(image + shift, pages))
        places.push({ page: start, image: start - shift, pages: end - start });
    }
    return places;
  }

  /** The missing pages within a range of memory. */
  within(page: number, pages: number): Place[] {
    const places: Place[] = [];
    for (const [shift, set] of this.#byShift) {
      for (const { start, end } of set.within(page, pages))
        places.push({ page: start, image: start - shift, pages: end - start });
    }
    return places;
  }

  all(): Place[] {
    return this.within(0, Infinity);
  }

  /** These pages are there, or gone for good. */
  delete(page: number, pages: number): void {
    for (const [shift, set] of this.#byShift) {
      set.delete(page, pages);
      if (set.size === 0) this.#byShift.delete(shift);
    }
  }

  /** They have moved, or are gone for good. */
  apply(change: MemoryChange): void {
    if (change.kind === "move") this.move(change.from, change.to, change.pages);
    else this.delete(change.page, change.pages);
  }

  /** The pages of memory from `from` on are at `to` now; what was known of their new place is void. */
  move(from: number, to: number, pages: number): void {
    const moved = this.within(from, pages);
    this.delete(from, pages);
    this.delete(to, pages);
    for (const { page, image, pages: count } of moved) {
      const now = page - from + to;
      this.#set(now - image).add(now, count);
    }
  }

  #set(shift: number): PageSet {
    let set = this.#byShift.get(shift);
    if (set === undefined) this.#byShift.set(shift, (set = new PageSet()));
    return set;
  }
}
