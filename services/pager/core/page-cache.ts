/**
 * Pages that have arrived and that CRIU has not been given yet, by process and page number, as the runs in which they
 * came. No page is held twice; a page leaves when it is taken. Data is never copied, only cut into views.
 */
import type { Buffer } from "node:buffer";

const pageBytes = 4096;

/** Consecutive pages; null data stands for zero pages. */
export interface CachedPages {
  pages: number;
  data: Buffer | null;
}

interface Entry extends CachedPages {
  readonly pid: number;
  page: number;
}

export class PageCache {
  readonly #byProcess = new Map<number, Entry[]>();
  /** Every entry, oldest first. */
  readonly #byAge = new Set<Entry>();
  #bytes = 0;

  /** What the cache weighs: its data, and a page for every run of zero pages, so that these are bounded as well. */
  get bytes(): number {
    return this.#bytes;
  }

  has(pid: number, page: number): boolean {
    return this.nextPage(pid, page) === page;
  }

  /** The first page at or after `page` that is held, or Infinity. */
  nextPage(pid: number, page: number): number {
    const entries = this.#byProcess.get(pid);
    const entry = entries?.[firstEndingAfter(entries, page)];
    return entry === undefined ? Infinity : Math.max(entry.page, page);
  }

  /** The first page after the run that holds `page`; `page` itself when it is not held. */
  runEnd(pid: number, page: number): number {
    const entries = this.#byProcess.get(pid);
    const entry = entries?.[firstEndingAfter(entries, page)];
    return entry !== undefined && entry.page <= page ? entry.page + entry.pages : page;
  }

  /** Adds a run; of pages that are held already the held copy stays. */
  put(pid: number, page: number, { pages, data }: CachedPages): void {
    const entries = this.#byProcess.get(pid) ?? [];
    this.#byProcess.set(pid, entries);
    const end = page + pages;
    for (let start = page; start < end;) {
      const at = firstEndingAfter(entries, start);
      const next = entries[at];
      const stop = Math.min(end, next?.page ?? end);
      if (stop > start) {
        const cut = data?.subarray((start - page) * pageBytes, (stop - page) * pageBytes) ?? null;
        this.#insert(entries, at, { pid, page: start, pages: stop - start, data: cut });
      }
      start = next === undefined ? end : Math.max(stop, next.page + next.pages);
    }
  }

  /** Takes the pages from `page` on that are held without a gap, `maxPages` at most. Empty when `page` is not held. */
  take(pid: number, page: number, maxPages: number): CachedPages[] {
    const entries = this.#byProcess.get(pid) ?? [];
    const taken: CachedPages[] = [];
    const end = page + maxPages;
    let next = page;
    while (next < end) {
      const at = firstEndingAfter(entries, next);
      const entry = entries[at];
      if (entry === undefined || entry.page > next) break;
      const pages = Math.min(entry.page + entry.pages, end) - next;
      taken.push(this.#cut(entries, at, entry, next, pages));
      next += pages;
    }
    return taken;
  }

  /** Drops the oldest runs until the cache weighs no more than `bytes`. */
  evictTo(bytes: number): void {
    for (const entry of this.#byAge) {
      if (this.#bytes <= bytes) return;
      const entries = this.#byProcess.get(entry.pid) ?? [];
      this.#remove(entries, firstEndingAfter(entries, entry.page));
    }
  }

  /** Takes `pages` from `page` on out of `entry`, and leaves what is before and behind. */
  #cut(entries: Entry[], at: number, entry: Entry, page: number, pages: number): CachedPages {
    const before = page - entry.page;
    const behind = entry.pages - before - pages;
    const part = (from: number, count: number): CachedPages => ({
      pages: count,
      data: entry.data?.subarray(from * pageBytes, (from + count) * pageBytes) ?? null,
    });
    this.#remove(entries, at);
    if (behind > 0) this.#insert(entries, at, { pid: entry.pid, page: page + pages, ...part(before + pages, behind) });
    if (before > 0) this.#insert(entries, at, { pid: entry.pid, page: entry.page, ...part(0, before) });
    return part(before, pages);
  }

  #insert(entries: Entry[], at: number, entry: Entry): void {
    entries.splice(at, 0, entry);
    this.#byAge.add(entry);
    this.#bytes += weight(entry);
  }

  #remove(entries: Entry[], at: number): void {
    for (const entry of entries.splice(at, 1)) {
      this.#byAge.delete(entry);
      this.#bytes -= weight(entry);
    }
  }
}

const weight = ({ data }: CachedPages): number => data?.length ?? pageBytes;

function firstEndingAfter(entries: readonly Entry[], page: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry === undefined || entry.page + entry.pages > page) high = middle;
    else low = middle + 1;
  }
  return low;
}
