/**
 * What to read ahead of a fault. By itself a fault draws in the block of memory around it: what a program needs first
 * after the restore lies in few places, but there on many pages, and each of them would be a fault of its own. Faults
 * that go on where the last read-ahead ended are a scan: each doubles it. Faults at equal distances are a stride: the
 * next ones are drawn in.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";

/** 64 KiB. */
const fewestPages = 16;
/** 256 KiB, aligned: what is drawn in around a fault. */
const blockPages = 64;
/** 1 MiB. */
const mostPages = 256;
/** Strided faults ahead that are drawn in. */
const strideDepth = 4;

export class FaultPattern {
  #last = -Infinity;
  #stride = 0;
  #strideSeen = 0;
  /** First page after the last read-ahead, and its size. */
  #aheadEnd = -Infinity;
  #aheadPages = fewestPages;

  /** A fault at `page`: what is worth reading ahead, the most likely first. The page itself is not among it. */
  next(page: number): PageRange[] {
    const distance = page - this.#last;
    const isScan =
      page > this.#last && page <= this.#aheadEnd + fewestPages && page >= this.#aheadEnd - this.#aheadPages;
    this.#strideSeen = distance === this.#stride ? this.#strideSeen + 1 : 0;
    this.#stride = distance;
    this.#last = page;
    this.#aheadPages = isScan ? Math.min(this.#aheadPages * 2, mostPages) : fewestPages;
    this.#aheadEnd = page + 1 + this.#aheadPages;
    const block = page - (page % blockPages);
    const behind = Math.max(this.#aheadPages, block + blockPages - page - 1);
    const ranges = [
      { page: page + 1, pages: behind },
      { page: block, pages: page - block },
    ];
    if (this.#strideSeen > 0 && Number.isFinite(distance) && Math.abs(distance) > fewestPages) {
      for (let step = 1; step <= strideDepth; step += 1) ranges.push({ page: page + step * distance, pages: 1 });
    }
    return ranges.filter((range) => range.page >= 0 && range.pages > 0);
  }
}
