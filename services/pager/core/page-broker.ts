/**
 * Decides, and does nothing else: what to ask of the source next, and what to answer CRIU next.
 *
 *     CRIU ──request──> queue ──nextAnswer──> CRIU          answers in the order of the requests
 *                         │ misses      ▲ cache
 *     source <──nextFetch─┘             └──arrived── source
 *
 * - A request for one page is taken for a fault (CRIU asks so for faults; a background request for one page is rare and
 *   loses nothing by it). On a miss the page is fetched at priority 0, its neighbours at priority 2.
 * - CRIU wants answers in order, so a fault waits for what was asked before it: those answers are kept short while a
 *   fault waits, and where nothing of one is there yet, its first page is fetched at priority 0 as well.
 * - The read-ahead runs in front of CRIU's background requests, within the window, through the processes in turn. It
 *   starts with the first of them: CRIU makes none before the restore is through, and until then the processors of both
 *   nodes have better things to do, since the container is down.
 * - Liveness: the head of the queue is always either cached or under way, whatever was evicted, came short, or was given
 *   to CRIU before (a child forked after the restore asks again for what its parent has had).
 */
import { PageProtocolError, pageBytes } from "../../shared/core/page-server/codec.ts";
import { LazyProcess } from "./lazy-process.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { PageCache, type CachedPages } from "./page-cache.ts";

export interface BrokerOptions {
  /** Most bytes cached and under way, but for what CRIU waits for. */
  windowBytes: number;
  /** Largest answer to a background request. */
  chunkPages: number;
}

export interface Fetch {
  pid: number;
  page: number;
  pages: number;
  priority: 0 | 2 | 3;
}

export interface Answer {
  pid: number;
  page: number;
  pages: number;
  parts: CachedPages[];
  isFault: boolean;
  /** Time since the request, in the unit of the clock that was passed in. */
  waited: number;
}

interface Pending {
  process: LazyProcess;
  page: number;
  pages: number;
  isFault: boolean;
  since: number;
}

/** While a fault waits, background answers before it hold 64 KiB at most. */
const hurriedPages = 16;
/** A missed fault draws in the aligned 64 KiB around it. */
const neighbourhoodPages = 16;
/** Largest fetch: what a frame of the data connection holds, 256 KiB. */
const maxFetchPages = 64;
/** Enough to fill 10 Gbit/s over 12 ms; more would only lengthen queues. */
const maxInFlightBytes = 16 << 20;
const missesBeforeEviction = 8;

export class PageBroker {
  readonly #options: BrokerOptions;
  readonly #processes = new Map<number, LazyProcess>();
  /** Processes whose read-ahead has something left to do; the next in turn comes first. */
  #readAhead: LazyProcess[] = [];
  readonly #cache = new PageCache();
  readonly #queue: Pending[] = [];
  readonly #urgent: Fetch[] = [];
  readonly #soon: Fetch[] = [];
  #aheadStarted = false;
  #faultsWaiting = 0;
  #inFlightBytes = 0;
  #missesInARow = 0;

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  get cachedBytes(): number {
    return this.#cache.bytes;
  }
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }
  get pending(): number {
    return this.#queue.length;
  }

  /** Makes a process known; from then on its pages may be asked for, and are read ahead. */
  addProcess(pid: number, ranges: readonly PageRange[]): void {
    const process = new LazyProcess(pid, ranges);
    this.#processes.set(pid, process);
    this.#readAhead.push(process);
  }

  /** CRIU asks for pages. Throws PageProtocolError when they are no lazy pages of one range of the images. */
  request(pid: number, page: number, pages: number, now: number): void {
    const process = this.#processes.get(pid);
    const range = process?.rangeOf(page);
    if (process === undefined || range === undefined || page + pages > range.page + range.pages)
      throw new PageProtocolError(
        `CRIU asked for ${pages} pages at 0x${(page * pageBytes).toString(16)} of process ${pid}, which the images do not have as lazy`,
      );
    const pending = { process, page, pages, isFault: pages === 1, since: now };
    if (pending.isFault) {
      for (const earlier of this.#queue) if (!earlier.isFault) this.#fetchFirstPage(earlier);
      this.#faultsWaiting += 1;
      this.#fault(pending, range);
    } else {
      this.#background(pending);
    }
    this.#queue.push(pending);
  }

  /** What to ask of the source now; undefined until something else happens. Each fetch ends in arrived() or lost(). */
  nextFetch(): Fetch | undefined {
    const head = this.#queue[0];
    const fetch = this.#urgent.shift() ?? this.#soon.shift() ?? (head && this.#missing(head)) ?? this.#ahead();
    if (fetch === undefined) return undefined;
    this.#processes.get(fetch.pid)?.inFlight.add(fetch.page, fetch.pages);
    this.#inFlightBytes += fetch.pages * pageBytes;
    return fetch;
  }

  /** The source's answer to a fetch: from its first page on, at least one page, perhaps fewer than asked. */
  arrived(fetch: Fetch, run: CachedPages): void {
    if (run.pages < 1 || run.pages > fetch.pages || (run.data !== null && run.data.length !== run.pages * pageBytes))
      throw new PageProtocolError(`the source answered ${run.pages} pages where ${fetch.pages} were asked for`);
    const process = this.#settle(fetch);
    if (process === undefined) return;
    const end = fetch.page + run.pages;
    // Pages that CRIU was given meanwhile, through a faster fetch, would only lie in the cache.
    for (let page = fetch.page; page < end;) {
      const given = process.given.nextRun(page);
      const stop = Math.min(end, given?.start ?? end);
      if (stop > page) {
        const cut = run.data?.subarray((page - fetch.page) * pageBytes, (stop - fetch.page) * pageBytes) ?? null;
        this.#cache.put(fetch.pid, page, { pages: stop - page, data: cut });
      }
      page = given === undefined ? end : Math.max(stop, given.end);
    }
    if (run.pages < fetch.pages) this.#readFrom(process, Math.min(process.cursor, end));
  }

  /** A fetch ended without an answer: its pages count as never asked for. */
  lost(fetch: Fetch): void {
    const process = this.#settle(fetch);
    if (process !== undefined) this.#readFrom(process, Math.min(process.cursor, fetch.page));
  }

  /** The answer to the oldest request as soon as its first page is there. It counts as given to CRIU. */
  nextAnswer(now: number): Answer | undefined {
    const head = this.#queue[0];
    if (head === undefined) return undefined;
    const { process, page, isFault, since } = head;
    const limit = this.#faultsWaiting > 0 ? hurriedPages : this.#options.chunkPages;
    const parts = this.#cache.take(process.pid, page, Math.min(head.pages, limit));
    const pages = parts.reduce((sum, part) => sum + part.pages, 0);
    if (pages === 0) return undefined;
    this.#queue.shift();
    if (isFault) this.#faultsWaiting -= 1;
    process.given.add(page, pages);
    return { pid: process.pid, page, pages, parts, isFault, waited: now - since };
  }

  #settle(fetch: Fetch): LazyProcess | undefined {
    this.#inFlightBytes -= fetch.pages * pageBytes;
    const process = this.#processes.get(fetch.pid);
    process?.inFlight.delete(fetch.page, fetch.pages);
    return process;
  }

  #fault(pending: Pending, range: PageRange): void {
    const { process, page } = pending;
    if (this.#cache.has(process.pid, page)) return;
    const wasOnItsWay = process.inFlight.has(page);
    this.#fetchFirstPage(pending);
    // Its neighbours are then on their way as well.
    if (wasOnItsWay) return;
    const first = Math.max(range.page, page - (page % neighbourhoodPages));
    const last = Math.min(range.page + range.pages, page - (page % neighbourhoodPages) + neighbourhoodPages);
    for (const [start, end] of [
      [page + 1, last],
      [first, page],
    ] as const) {
      const absent = process.firstAbsent(this.#cache, start, end, neighbourhoodPages);
      if (absent !== undefined) this.#soon.push({ pid: process.pid, ...absent, priority: 2 });
    }
  }

  /** Fetches the first page of a request at priority 0, unless it is there or is being fetched so already. */
  #fetchFirstPage({ process, page }: Pending): void {
    if (this.#cache.has(process.pid, page)) return;
    if (this.#urgent.some((fetch) => fetch.pid === process.pid && fetch.page === page)) return;
    process.given.delete(page, 1);
    this.#urgent.push({ pid: process.pid, page, pages: 1, priority: 0 });
  }

  #background({ process, page, pages }: Pending): void {
    this.#aheadStarted = true;
    if (this.#cache.has(process.pid, page)) {
      this.#missesInARow = 0;
      // CRIU leaves out what was unmapped; what it has passed need not be read.
      if (process.cursor < page) this.#readFrom(process, page + pages);
      return;
    }
    if (process.inFlight.has(page)) return;
    const range = process.rangeOf(page);
    if (range === undefined) return;
    // A miss: the read-ahead goes on from here, also over pages that were given before: a forked child asks for them.
    process.given.delete(page, range.page + range.pages - page);
    this.#makeRoom();
    this.#readFrom(process, page);
  }

  #readFrom(process: LazyProcess, page: number): void {
    process.cursor = page;
    if (!this.#readAhead.includes(process)) this.#readAhead.push(process);
  }

  /** What the head of the queue still waits for that nobody has asked the source for. */
  #missing({ process, page, pages, isFault }: Pending): Fetch | undefined {
    if (this.#cache.has(process.pid, page) || process.inFlight.has(page)) return undefined;
    process.given.delete(page, pages);
    const absent = process.firstAbsent(this.#cache, page, page + pages, maxFetchPages);
    return absent && { pid: process.pid, ...absent, priority: isFault ? 0 : 3 };
  }

  #ahead(): Fetch | undefined {
    const { windowBytes } = this.#options;
    if (!this.#aheadStarted) return undefined;
    if (this.#inFlightBytes >= maxInFlightBytes) return undefined;
    if (this.#cache.bytes + this.#inFlightBytes >= windowBytes) return undefined;
    for (let process = this.#readAhead.shift(); process !== undefined; process = this.#readAhead.shift()) {
      const absent = process.nextAbsent(this.#cache, maxFetchPages);
      if (absent === undefined) continue;
      process.cursor = absent.page + absent.pages;
      this.#readAhead.push(process);
      return { pid: process.pid, ...absent, priority: 3 };
    }
    return undefined;
  }

  /**
   * Room for the read-ahead when the window is full of pages that CRIU does not ask for, such as those of a process that
   * has ended. Hits in between mean that the window is merely small for so many processes: then nothing is thrown away.
   */
  #makeRoom(): void {
    const { windowBytes } = this.#options;
    this.#missesInARow += 1;
    if (this.#missesInARow < missesBeforeEviction || this.#cache.bytes + this.#inFlightBytes < windowBytes) return;
    this.#missesInARow = 0;
    this.#cache.evictTo(windowBytes / 2);
  }
}
