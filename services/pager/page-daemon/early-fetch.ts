/**
 * Fetches pages before their process is there, and keeps them until it is.
 *
 *     announced ──fetch──> provisional ──(the images are known) confirm──> confirmed ──(the process runs)──> filled
 *                    └──(the source was frozen)─────────────────────────────────^
 *
 * Until the images are known, what to fetch is what the source announces, as far as there is room. What the images do not
 * have of it is never used.
 */
import type { MemoryMap } from "../../shared/core/frames/memory-map.ts";
import type { PageSpan } from "../../shared/core/frames/page-message.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { blockPages, EarlyPages, type EarlyRun } from "../core/early-pages.ts";
import { chunksOf, mostChunks } from "../core/page-set.ts";
import { WantedPages } from "../core/wanted-pages.ts";
import type { PageAnswer } from "./page-lane.ts";

export interface EarlyRange extends PageRange {
  pid: number;
}

export class EarlyFetch {
  readonly #mostBytes: number;
  readonly held = new EarlyPages();
  /** By process; what was announced and not asked for. */
  readonly #announced = new Map<number, WantedPages>();
  /** By process; provisional pages that the images lack, and that were not asked to be confirmed. */
  readonly #unconfirmed = new Map<number, WantedPages>();
  #askedBytes = 0;
  #announcedChunks = 0;
  #announcedPages = 0;
  #takenPages = 0;
  #isKnown = false;

  /** Speculatively fetched are at most `mostBytes`. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Pages that the source has told of, while that counts. */
  get pagesAnnounced(): number {
    return this.#announcedPages;
  }

  /** How many of these will come still, as things are: those that there is no room for will not. */
  get pagesAwaited(): number {
    const unasked = this.#announced.size > 0 && this.#hasRoom ? this.#announcedPages - this.#takenPages : 0;
    return this.#askedBytes / pageBytes + unasked;
  }

  get #hasRoom(): boolean {
    return this.held.bytes + this.#askedBytes < this.#mostBytes;
  }

  /** The source tells of pages. Once the images are known, they say it better; so they do of what is too much to note. */
  announce({ pid, runs }: MemoryMap): void {
    if (this.#isKnown) return;
    this.#announcedChunks += chunksOf(runs);
    if (this.#announcedChunks > mostChunks) return;
    let wanted = this.#announced.get(pid);
    if (wanted === undefined) this.#announced.set(pid, (wanted = new WantedPages([])));
    for (const { page, pages } of runs) {
      wanted.add(page, pages);
      this.#announcedPages += pages;
    }
  }

  /** The next speculative fetch, if there is one and room for it. */
  nextAnnounced(): EarlyRange | undefined {
    if (!this.#hasRoom) return undefined;
    for (const [pid, wanted] of this.#announced) {
      const run = wanted.takeNext(blockPages);
      if (run === undefined) this.#announced.delete(pid);
      else {
        this.#askedBytes += run.pages * pageBytes;
        this.#takenPages += run.pages;
        return { pid, ...run };
      }
    }
    return undefined;
  }

  /** A speculative fetch has ended, with an answer or without. */
  ended({ pages }: { pages: number }): void {
    this.#askedBytes -= pages * pageBytes;
  }

  /** The next pages to confirm. */
  nextUnconfirmed(): EarlyRange | undefined {
    for (const [pid, pages] of this.#unconfirmed) {
      const run = pages.takeNext(blockPages);
      if (run !== undefined) return { pid, ...run };
      this.#unconfirmed.delete(pid);
    }
    return undefined;
  }

  /** Those of a block's pages that wait to be confirmed, to be asked for now. */
  takeUnconfirmed({ pid, page, pages }: EarlyRange): EarlyRange[] {
    const taken = this.#unconfirmed.get(pid)?.takeWithin(page, pages, blockPages) ?? [];
    return taken.map((range) => ({ pid, ...range }));
  }

  /** The images are known: `wanted` is what they lack, by process, and loses what is held. */
  learn(wanted: ReadonlyMap<number, WantedPages>): void {
    this.#isKnown = true;
    this.#announced.clear();
    for (const run of this.held.all()) this.#settle(run, wanted.get(run.pid));
  }

  /** Keeps what has arrived too early. `wanted`: what the images lack of the process and was not asked for, once known. */
  keep(run: EarlyRun, wanted: WantedPages | undefined): void {
    this.held.add(run);
    if (this.#isKnown) this.#settle(run, wanted);
  }

  #settle({ pid, page, pages, provisional }: EarlyRun, wanted: WantedPages | undefined): void {
    const needed = wanted?.takeWithin(page, pages, blockPages) ?? [];
    if (!provisional || needed.length === 0) return;
    let unconfirmed = this.#unconfirmed.get(pid);
    if (unconfirmed === undefined) this.#unconfirmed.set(pid, (unconfirmed = new WantedPages([])));
    for (const range of needed) unconfirmed.add(range.page, range.pages);
  }

  /**
   * The pages of an answer that are ready for use, those that are the same taken from what is held. `lost` are pages
   * that the source takes for held and that are not.
   */
  resolve({ request, pages, spans, payload, provisional }: Omit<PageAnswer, "keep">): {
    runs: EarlyRun[];
    lost: PageRange[];
  } {
    const { pid, page } = request;
    const whole = (of: readonly PageSpan[]): EarlyRun => ({ pid, page, pages, spans: of, payload, provisional });
    if (!request.known) return { runs: [whole(spans)], lost: [] };
    const runs: EarlyRun[] = [];
    const lost: PageRange[] = [];
    for (const span of spans) {
      const start = page + span.first;
      if (span.at !== "same") {
        const part = { ...span, first: 0 };
        runs.push({ pid, page: start, pages: span.pages, spans: [part], payload, provisional: false });
        continue;
      }
      let at = start;
      const held = this.held.within(pid, start, span.pages).sort((a, b) => a.page - b.page);
      for (const run of held) {
        if (run.page > at) lost.push({ page: at, pages: run.page - at });
        runs.push({ ...run, provisional: false });
        at = run.page + run.pages;
      }
      if (at < start + span.pages) lost.push({ page: at, pages: start + span.pages - at });
    }
    return { runs, lost };
  }
}
