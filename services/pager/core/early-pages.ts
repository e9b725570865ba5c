/**
 * Pages that came before their process did: sent from the freeze on, side by side with CRIU's dump, or while the
 * container still ran. The latter are provisional: used only after the source has said that they are the same in the
 * frozen memory.
 */
import type { PageSpan } from "../../shared/core/frames/page-message.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";

/** Consecutive pages of one process, as an answer of the source has brought them. */
export interface EarlyRun {
  readonly pid: number;
  /** First page, in the images. */
  readonly page: number;
  readonly pages: number;
  /** Count from the run's first page; none is "same". */
  readonly spans: readonly PageSpan[];
  /** Shared by the runs that were cut from one answer. */
  readonly payload: Buffer;
  readonly provisional: boolean;
}

/** Runs stand by the block that they begin in: a run ends with its block. */
export const blockPages = 64;
const blockOf = (page: number): number => Math.floor(page / blockPages);

/** The part of a run from `page` on; undefined when nothing of it is there. */
export function cut(run: EarlyRun, page: number, pages: number): EarlyRun | undefined {
  const start = Math.max(run.page, page);
  const end = Math.min(run.page + run.pages, page + pages);
  if (start >= end) return undefined;
  const spans = run.spans.flatMap(({ first, pages: count, at }) => {
    const from = Math.max(run.page + first, start);
    const to = Math.min(run.page + first + count, end);
    if (from >= to) return [];
    const skipped = (from - run.page - first) * pageBytes;
    return [{ first: from - start, pages: to - from, at: typeof at === "number" ? at + skipped : at }];
  });
  return { ...run, page: start, pages: end - start, spans };
}

/** What a span takes besides contents, roughly: those without are bounded by it. */
const spanBytes = 256;

const contentBytesOf = ({ spans }: EarlyRun): number =>
  spans.reduce((sum, { pages, at }) => (typeof at === "number" ? sum + pages * pageBytes : sum), 0);

/** The run with its contents alone where they stand in far more memory: what is held is counted by its contents. */
export function compact(run: EarlyRun): EarlyRun {
  const bytes = contentBytesOf(run);
  if (2 * bytes >= run.payload.length) return run;
  const payload = Buffer.from(new SharedArrayBuffer(bytes));
  let end = 0;
  const spans = run.spans.map((span) => {
    if (typeof span.at !== "number") return span;
    const at = end;
    end += run.payload.copy(payload, at, span.at, span.at + span.pages * pageBytes);
    return { ...span, at };
  });
  return { ...run, spans, payload };
}

export class EarlyPages {
  readonly #processes = new Map<number, Map<number, EarlyRun[]>>();
  /** Where `nextConfirmed` is: to look from the start each time would take ever longer. */
  #walk: Generator<EarlyRun> | undefined;
  #bytes = 0;
  #pages = 0;
  #confirmedRuns = 0;

  /** Memory held, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Pages held, those that are zero too. */
  get pages(): number {
    return this.#pages;
  }

  /** Keeps a run that lies within one block; what was there of the same pages is replaced. */
  add(run: EarlyRun): void {
    this.delete(run.pid, run.page, run.pages);
    this.#insert(run);
  }

  /** The run that has the page. */
  at(pid: number, page: number): EarlyRun | undefined {
    return this.#blockAt(pid, page)?.find((run) => run.page <= page && page < run.page + run.pages);
  }

  /** What there is of a range that lies within one block. */
  within(pid: number, page: number, pages: number): EarlyRun[] {
    return (this.#blockAt(pid, page) ?? []).flatMap((run) => cut(run, page, pages) ?? []);
  }

  /** Lets go of a range that lies within one block. */
  delete(pid: number, page: number, pages: number): void {
    const blocks = this.#processes.get(pid);
    const block = blocks?.get(blockOf(page));
    if (blocks === undefined || block === undefined) return;
    blocks.delete(blockOf(page));
    for (const run of block) {
      this.#count(run, -1);
      const rest = [cut(run, run.page, page - run.page), cut(run, page + pages, run.page + run.pages - page - pages)];
      for (const part of rest) if (part !== undefined) this.#insert(part);
    }
    if (blocks.size === 0) this.#processes.delete(pid);
  }

  /** All runs, those of one process together. */
  *all(): Generator<EarlyRun> {
    for (const blocks of this.#processes.values()) for (const runs of blocks.values()) yield* runs;
  }

  get hasConfirmed(): boolean {
    return this.#confirmedRuns > 0;
  }

  /** Some run that may be used as it is; whoever takes it deletes it. */
  nextConfirmed(): EarlyRun | undefined {
    if (!this.hasConfirmed) return undefined;
    for (let turn = 0; turn < 2; turn++) {
      this.#walk ??= this.all();
      for (let step = this.#walk.next(); step.done !== true; step = this.#walk.next())
        if (!step.value.provisional) return step.value;
      this.#walk = undefined;
    }
    return undefined;
  }

  #blockAt(pid: number, page: number): EarlyRun[] | undefined {
    return this.#processes.get(pid)?.get(blockOf(page));
  }

  #insert(run: EarlyRun): void {
    let blocks = this.#processes.get(run.pid);
    if (blocks === undefined) this.#processes.set(run.pid, (blocks = new Map<number, EarlyRun[]>()));
    const block = blocks.get(blockOf(run.page));
    if (block === undefined) blocks.set(blockOf(run.page), [run]);
    else block.push(run);
    this.#count(run, 1);
  }

  #count(run: EarlyRun, sign: 1 | -1): void {
    this.#bytes += sign * (contentBytesOf(run) + run.spans.length * spanBytes);
    this.#pages += sign * run.pages;
    if (!run.provisional) this.#confirmedRuns += sign;
  }
}
