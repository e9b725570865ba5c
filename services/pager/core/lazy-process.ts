/**
 * What the pager knows of one process: which of its pages are lazy, which CRIU has been given, which are under way, and
 * how far the read-ahead has come.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import type { PageCache } from "./page-cache.ts";
import { PageSet } from "./page-set.ts";

export class LazyProcess {
  readonly pid: number;
  readonly ranges: readonly PageRange[];
  readonly given = new PageSet();
  readonly inFlight = new PageSet();
  /** The read-ahead looks from this page on. */
  cursor = 0;

  constructor(pid: number, ranges: readonly PageRange[]) {
    this.pid = pid;
    this.ranges = ranges;
  }

  /** The lazy range that holds `page`. */
  rangeOf(page: number): PageRange | undefined {
    const range = this.ranges[this.#firstRangeEndingAfter(page)];
    return range !== undefined && range.page <= page ? range : undefined;
  }

  /** The next pages from the cursor on that are neither given, cached nor under way. Undefined: nothing is left. */
  nextAbsent(cache: PageCache, maxPages: number): PageRange | undefined {
    let at = this.#firstRangeEndingAfter(this.cursor);
    for (let range = this.ranges[at]; range !== undefined; range = this.ranges[++at]) {
      const end = range.page + range.pages;
      const absent = this.firstAbsent(cache, Math.max(range.page, this.cursor), end, maxPages);
      if (absent !== undefined) return absent;
      this.cursor = end;
    }
    return undefined;
  }

  /** The first run of absent pages in [start, end), `maxPages` at most. */
  firstAbsent(cache: PageCache, start: number, end: number, maxPages: number): PageRange | undefined {
    let page = start;
    while (page < end) {
      const held = this.#heldUntil(cache, page);
      if (held === page) break;
      page = held;
    }
    if (page >= end) return undefined;
    const stop = Math.min(
      end,
      page + maxPages,
      this.given.nextRun(page)?.start ?? Infinity,
      this.inFlight.nextRun(page)?.start ?? Infinity,
      cache.nextPage(this.pid, page),
    );
    return { page, pages: stop - page };
  }

  /** The first page after `page` that is worth a look when `page` is given, under way or cached; else `page`. */
  #heldUntil(cache: PageCache, page: number): number {
    for (const set of [this.given, this.inFlight]) {
      const run = set.nextRun(page);
      if (run?.start === page) return run.end;
    }
    return cache.runEnd(this.pid, page);
  }

  #firstRangeEndingAfter(page: number): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.ranges[middle];
      if (range === undefined || range.page + range.pages > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
