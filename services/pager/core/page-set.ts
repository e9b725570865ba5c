/**
 * A set of page numbers, one bit a page in chunks of 16 MiB of memory; only chunks that have a page exist. Faults tear holes
 * into it all over: as a list of runs it would be slow to change just when time counts.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";

export interface Run {
  start: number;
  /** First page after the run. */
  end: number;
}

const chunkPages = 4096;
const wordPages = 32;

/**
 * Chunks that what a peer tells of pages may take in all: some 350 MB here, for memory in 8 TiB of address space at most. A
 * run of 12 bytes may name as many pages as would fill this node's memory with chunks.
 */
export const mostChunks = 2 ** 19;

/** How many chunks runs take that are ascending; as many at most when they are not. */
export function chunksOf(runs: readonly PageRange[]): number {
  let chunks = 0;
  let last = -1;
  for (const { page, pages } of runs) {
    const end = Math.floor((page + pages - 1) / chunkPages);
    const first = Math.floor(page / chunkPages);
    chunks += end - first + (first === last ? 0 : 1);
    last = end;
  }
  return chunks;
}

interface Chunk {
  /** Number of its first page, over `chunkPages`. */
  number: number;
  words: Uint32Array;
  pages: number;
}

export class PageSet {
  /** Ascending. */
  readonly #chunks: Chunk[] = [];
  #size = 0;

  /** Pages in it. */
  get size(): number {
    return this.#size;
  }

  has(page: number): boolean {
    const number = Math.floor(page / chunkPages);
    const chunk = this.#chunks[this.#firstFrom(number)];
    if (chunk?.number !== number) return false;
    const bit = page % chunkPages;
    return (((chunk.words[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 1;
  }

  /** The first run that ends after `page`, with its start clipped to `page`, and `mostPages` of it at most. */
  nextRun(page: number, mostPages = Infinity): Run | undefined {
    const start = this.#next(page);
    return start === undefined ? undefined : { start, end: this.#runEnd(start, start + mostPages) };
  }

  /** What the set has of the pages from `page` on, ascending, in runs as long as can be, clipped. */
  within(page: number, pages: number): Run[] {
    const found: Run[] = [];
    const end = page + pages;
    for (let start = this.#next(page); start !== undefined && start < end;) {
      const stop = this.#runEnd(start, end);
      found.push({ start, end: stop });
      start = this.#next(stop);
    }
    return found;
  }

  /** Every run, ascending. */
  all(): Run[] {
    return this.within(0, Infinity);
  }

  /** `pages` is finite. */
  add(start: number, pages: number): void {
    const end = start + pages;
    for (let page = start; page < end;) {
      const number = Math.floor(page / chunkPages);
      const stop = Math.min(end, (number + 1) * chunkPages);
      const at = this.#firstFrom(number);
      let chunk = this.#chunks[at];
      if (chunk?.number !== number) {
        chunk = { number, words: new Uint32Array(chunkPages / wordPages), pages: 0 };
        this.#chunks.splice(at, 0, chunk);
      }
      this.#change(chunk, page - number * chunkPages, stop - number * chunkPages, true);
      page = stop;
    }
  }

  delete(start: number, pages: number): void {
    const end = start + pages;
    for (let at = this.#firstFrom(Math.floor(start / chunkPages)); ;) {
      const chunk = this.#chunks[at];
      const first = (chunk?.number ?? Infinity) * chunkPages;
      if (chunk === undefined || first >= end) return;
      this.#change(chunk, Math.max(start - first, 0), Math.min(end - first, chunkPages), false);
      if (chunk.pages === 0) this.#chunks.splice(at, 1);
      else at++;
    }
  }

  /** Sets or clears the bits [from, to) of a chunk. */
  #change(chunk: Chunk, from: number, to: number, set: boolean): void {
    const { words } = chunk;
    let changed = 0;
    for (let bit = from; bit < to;) {
      const at = bit >>> 5;
      const stop = Math.min(to, (at + 1) * wordPages);
      const mask = maskOf(bit & 31, stop - bit);
      const before = words[at] ?? 0;
      const after = set ? before | mask : before & ~mask;
      changed += countOf((before ^ after) >>> 0);
      words[at] = after;
      bit = stop;
    }
    const difference = set ? changed : -changed;
    chunk.pages += difference;
    this.#size += difference;
  }

  /** First page from `page` on that is in the set. */
  #next(page: number): number | undefined {
    for (let at = this.#firstFrom(Math.floor(page / chunkPages)); ; at++) {
      const chunk = this.#chunks[at];
      if (chunk === undefined) return undefined;
      const first = chunk.number * chunkPages;
      const bit = nextBit(chunk.words, Math.max(page - first, 0), true);
      if (bit < chunkPages) return first + bit;
    }
  }

  /** Where the run that has page `start` ends; `limit` at most. */
  #runEnd(start: number, limit: number): number {
    let number = Math.floor(start / chunkPages);
    let bit = start % chunkPages;
    for (let at = this.#firstFrom(number); ; at++, number++, bit = 0) {
      const chunk = this.#chunks[at];
      if (chunk?.number !== number) return Math.min(limit, number * chunkPages);
      bit = nextBit(chunk.words, bit, false);
      if (bit < chunkPages || (number + 1) * chunkPages >= limit) return Math.min(limit, number * chunkPages + bit);
    }
  }

  /** Index of the first chunk of this number or a higher one. */
  #firstFrom(number: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.number ?? Infinity) >= number) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** `count` bits from `from` on, of a word. */
const maskOf = (from: number, count: number): number =>
  count === wordPages ? 0xffffffff : (((1 << count) - 1) << from) >>> 0;

/** The first bit from `from` on that is set, or that is clear; `chunkPages` when there is none. */
function nextBit(words: Uint32Array, from: number, isSet: boolean): number {
  for (let at = from >>> 5; at < words.length; at++) {
    const word = words[at] ?? 0;
    let wanted = isSet ? word : ~word;
    if (at === from >>> 5) wanted &= -1 << (from & 31);
    if (wanted !== 0) return at * wordPages + 31 - Math.clz32(wanted & -wanted);
  }
  return chunkPages;
}

/** Set bits of a word: see Hacker's Delight, 5-1. */
function countOf(word: number): number {
  let sums = word - ((word >>> 1) & 0x55555555);
  sums = (sums & 0x33333333) + ((sums >>> 2) & 0x33333333);
  return Math.imul((sums + (sums >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
