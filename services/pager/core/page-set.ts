/** A set of page numbers kept as sorted, disjoint, merged runs: small for memory that is touched in runs. */
export interface Run {
  start: number;
  /** First page after the run. */
  end: number;
}

export class PageSet {
  readonly #runs: Run[] = [];

  /** Runs held; a measure of the set's size in memory. */
  get runs(): number {
    return this.#runs.length;
  }

  has(page: number): boolean {
    const run = this.#runs[this.#firstEndingAfter(page)];
    return run !== undefined && run.start <= page;
  }

  /** The first run that ends after `page`, with its start clipped to `page`. */
  nextRun(page: number): Run | undefined {
    const run = this.#runs[this.#firstEndingAfter(page)];
    return run && { start: Math.max(run.start, page), end: run.end };
  }

  /** Every run, ascending. The set may not change meanwhile. */
  all(): readonly Readonly<Run>[] {
    return this.#runs;
  }

  /** What the set has of the pages from `page` on, ascending, clipped. */
  within(page: number, pages: number): Run[] {
    const found: Run[] = [];
    const end = page + pages;
    for (let at = this.#firstEndingAfter(page); at < this.#runs.length; at += 1) {
      const run = this.#runs[at];
      if (run === undefined || run.start >= end) break;
      found.push({ start: Math.max(run.start, page), end: Math.min(run.end, end) });
    }
    return found;
  }

  add(start: number, pages: number): void {
    if (pages <= 0) return;
    const added: Run = { start, end: start + pages };
    // Runs that merely touch are merged too, hence the search from start - 1.
    const from = this.#firstEndingAfter(start - 1);
    let to = from;
    for (let run = this.#runs[to]; run !== undefined && run.start <= added.end; run = this.#runs[++to]) {
      added.start = Math.min(added.start, run.start);
      added.end = Math.max(added.end, run.end);
    }
    this.#runs.splice(from, to - from, added);
  }

  delete(start: number, pages: number): void {
    if (pages <= 0) return;
    const end = start + pages;
    const from = this.#firstEndingAfter(start);
    const kept: Run[] = [];
    let to = from;
    for (let run = this.#runs[to]; run !== undefined && run.start < end; run = this.#runs[++to]) {
      if (run.start < start) kept.push({ start: run.start, end: start });
      if (run.end > end) kept.push({ start: end, end: run.end });
    }
    this.#runs.splice(from, to - from, ...kept);
  }

  clear(): void {
    this.#runs.length = 0;
  }

  #firstEndingAfter(page: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.end ?? Infinity) > page) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
