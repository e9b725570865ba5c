/**
 * Fetches pages, and has them filled in: those that threads wait for at once and by this thread, all others in the
 * background by the bulk threads.
 *
 *     announced ──the images are known──> known ──every process is restored──> restored ──no fault for a while──> calm
 *
 * What was announced is fetched and kept. The rest of the background begins when all is calm; or before the restore, if
 * the migration is to be whole.
 */
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import type { DmigrateError } from "../../shared/errors.ts";
import { compact, cut, type EarlyRun } from "../core/early-pages.ts";
import type { Placement } from "../core/placement.ts";
import type { PageServerStats } from "../page-server.ts";
import type { AddressSpaces } from "./address-spaces.ts";
import type { Attempts } from "./attempts.ts";
import { payloadOf, type BulkAnswer, type BulkFilled } from "./bulk-lane.ts";
import { unitPages, type BulkLanes } from "./bulk-lanes.ts";
import type { BulkRequest } from "./bulk-messages.ts";
import { EarlyFetch, type EarlyRange } from "./early-fetch.ts";
import type { StartDaemon } from "./messages.ts";
import { PageDialer } from "./page-dialer.ts";
import { PageFilling } from "./page-filling.ts";
import { PageLane, type PageAnswer, type PageRequest } from "./page-lane.ts";

/** Enough to fill 10 Gbit/s over 6 ms; more would only lengthen queues. */
const mostInFlightBytes = 8 << 20;
/** Of pages that are here, what is filled in at once around a fault: 64 KiB. */
const nearPages = 16;
/** Runs of pages that are here, handed to the bulk threads at once. */
const mostFilling = 16;

export interface PageFetchOptions {
  start: StartDaemon;
  bulk: BulkLanes;
  spaces: AddressSpaces;
  signal: AbortSignal;
  /** Hears what the kernel has to tell just now. */
  hear: () => void;
  /** Some pages are filled in, or a request is over. */
  onProgress: () => void;
  /** Every page is here, before the restore: when the migration is to be whole. */
  onCached: () => void;
  /**
   * The faults' connection is another one now: what comes by it is to be taken with `takeUrgent`. Undefined: there is
   * none, and its descriptor is about to be closed.
   */
  onUrgent: (fd: number | undefined) => void;
  /** With a reason when a link is lost, without when it is back. */
  onLink: (lost: string | undefined) => void;
  onFailure: (error: DmigrateError) => void;
}

export class PageFetch {
  readonly #options: PageFetchOptions;
  readonly #early: EarlyFetch;
  readonly #urgent: PageLane;
  readonly #dialer: PageDialer;
  stage: "announced" | "known" | "restored" | "calm" = "announced";
  /** Faults of pages that are held here. */
  #localFaults: { pid: number; page: number }[] = [];
  #faultsAnswered = 0;
  #backgroundBytes = 0;
  /** Asked for, and not all filled in or kept. */
  #pagesUnderWay = 0;
  /** Requests, or parts of them, whose pages are counted off: whatever fails, that happens once. */
  readonly #isOver = new WeakSet<PageRequest>();
  /** Held runs that the bulk threads are filling in. */
  readonly #filling = new Set<EarlyRun>();
  #nextProcess = 0;
  #saidCached = false;
  readonly #filler: PageFilling;
  readonly #attempts: Attempts;

  constructor(options: PageFetchOptions) {
    this.#options = options;
    const { start, signal, onUrgent, onLink, onFailure } = options;
    const { migrationId, secret, source, reconnectMs, earlyBytes } = start;
    this.#early = new EarlyFetch(earlyBytes);
    this.#filler = new PageFilling(options);
    this.#attempts = this.#filler.attempts;
    this.#urgent = new PageLane({
      onAnswer: (answer) => this.#urgentArrived(answer),
      onRefused: (request) => this.#answered(request),
      // It is told over the other connection.
      onMap: () => undefined,
      onLost: (reason) => {
        onUrgent(undefined);
        void this.#dialer.lost(reason);
      },
      onFailure,
    });
    this.#dialer = new PageDialer({
      ...{ migrationId, secret, source, reconnectMs, signal, role: "faults", onLink, onFailure },
      onConnection: (connection) => {
        // Before it is used: by then it may be lost again.
        onUrgent(connection.fd);
        this.#urgent.use(connection, reconnectMs);
      },
    });
    signal.addEventListener("abort", () => this.#urgent.end(), { once: true });
  }

  /** Connects to the source. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(): Promise<void> {
    const { bulk, onLink, onFailure, start } = this.#options;
    const { migrationId, secret, source, readers, reconnectMs } = start;
    const connecting = bulk.connect({ migrationId, secret, source, reconnectMs }, readers, {
      onAnswer: (answer) => {
        if (!this.#attempts.make(() => this.#bulkArrived(answer))) this.#askOnceMore(answer.request);
      },
      onFilled: (filled) => this.#bulkFilled(filled),
      onRefused: (request) => this.#answered(request),
      onMap: (map) => {
        this.#early.announce(map);
        this.pump();
      },
      onLink,
      onFailure,
    });
    await Promise.all([connecting, this.#dialer.connect()]);
  }

  /** Takes some of what has come by the faults' connection; answers whether that answered a fault. */
  takeUrgent(): boolean {
    const before = this.#faultsAnswered;
    this.#urgent.onReady();
    return this.#faultsAnswered > before;
  }

  /** Threads wait for pages that the source was asked for. */
  get isWaiting(): boolean {
    return this.#urgent.isWaiting;
  }

  /** Has what was asked in the background leave, without waiting for Node's turn. */
  flush(): void {
    this.#options.bulk.flush();
  }

  /** The images are known, and with them which pages they lack. */
  learn(): void {
    this.#early.learn(this.#options.spaces.wanted);
    this.stage = "known";
    this.pump();
  }

  get stats(): Pick<PageServerStats, "bytesReceived" | "pagesHeld" | "pagesAnnounced" | "pagesAwaited"> {
    return {
      bytesReceived: this.#options.bulk.bytesReceived + this.#urgent.bytesReceived,
      pagesHeld: this.#early.held.pages,
      pagesAnnounced: this.#early.pagesAnnounced,
      pagesAwaited: this.#early.pagesAwaited,
    };
  }

  /** In how many milliseconds something is to be tried again; undefined when nothing is. */
  get retryMs(): number | undefined {
    if (this.#localFaults.length > 0 || this.#urgent.isWriting) return this.#attempts.pauseMs;
    const { nextAt } = this.#urgent;
    return nextAt === undefined ? undefined : Math.max(1, Math.ceil(nextAt - performance.now()));
  }

  /** Tries again what the source was not ready for, or the system had no room for. */
  askAgain(): void {
    this.#urgent.askAgain(performance.now());
  }

  /** A thread waits for a page. Nothing may be filled in now: there may be more to hear. */
  fault(pid: number, page: number): void {
    const held = this.#early.held.at(pid, page);
    if (held?.provisional === false) {
      this.#localFaults.push({ pid, page });
      return;
    }
    const known = held !== undefined;
    this.#pagesUnderWay += 1;
    this.#urgent.request({ pid, page, pages: 1, priority: 0, known, speculative: false });
    // At once: all else that is done in this turn comes after it.
    this.#urgent.flush();
    if (!known) return;
    const ranges = this.#early.takeUnconfirmed(held);
    if (ranges.length > 0) this.#ask({ pid, ranges, priority: 2, known });
  }

  /** Pages are worth having soon. */
  near(pid: number, ranges: readonly PageRange[]): void {
    this.#ask({ pid, ranges, priority: 2 });
  }

  /** Fills in what faults wait for and is here already. */
  answerLocally(): void {
    const later: { pid: number; page: number }[] = [];
    for (let fault = this.#localFaults.pop(); fault !== undefined; fault = this.#localFaults.pop()) {
      const { pid, page } = fault;
      const run = this.#early.held.at(pid, page);
      const part = run && cut(run, page - (page % nearPages), nearPages);
      if (part === undefined) continue;
      if (this.#filler.fill([part])) this.#early.held.delete(part.pid, part.page, part.pages);
      else later.push(fault);
    }
    this.#localFaults = later;
  }

  /** Fetches and fills in, as much as may be under way at this stage. */
  pump(): void {
    const { start, spaces } = this.#options;
    if (this.#attempts.failed) return;
    switch (this.stage) {
      case "announced":
        this.#pumpAnnounced();
        return;
      case "known":
        if (start.whole) this.#pumpWhole();
        return;
      case "restored":
        return;
      case "calm":
        if (!spaces.empty) this.#pumpBackground();
        return;
    }
  }

  #ask(request: Omit<BulkRequest, "known" | "speculative"> & Partial<BulkRequest>): void {
    const whole: BulkRequest = { known: false, speculative: false, ...request };
    const { pid, ranges, priority, known } = whole;
    this.#count(
      priority,
      ranges.reduce((sum, { pages }) => sum + pages, 0),
    );
    let placement: Placement | undefined;
    // What is not placed now is placed when it has come.
    if (this.#isRunning && !known) this.#attempts.make(() => (placement = this.#options.spaces.place(pid, ranges)));
    this.#options.bulk.request(whole, placement);
  }

  /** So many pages more are under way, or fewer. */
  #count(priority: PageRequest["priority"], pages: number): void {
    this.#pagesUnderWay += pages;
    if (priority === 3) this.#backgroundBytes += pages * pageBytes;
  }

  #urgentArrived(answer: PageAnswer): void {
    this.#faultsAnswered += 1;
    const { request, keep } = answer;
    const runs = this.#resolve(answer);
    if (this.#filler.fill(runs)) {
      this.#options.bulk.lock.noteAnswered();
      this.#answered(request);
      return;
    }
    keep();
    void this.#filler.fillLater(runs).then(() => this.#answered(request));
  }

  /** A request is over, and as far as there was no answer of it, what it asked for is filled in. */
  #bulkFilled({ request, pages, generation, filled }: BulkFilled): void {
    // What is not noted is merely filled in once more.
    this.#attempts.make(() => this.#options.spaces.noteFilled({ generation, filled }));
    this.#count(request.priority, -pages);
    this.#options.onProgress();
  }

  #bulkArrived({ request, pages, provisional, generation, filled, rest, free }: BulkAnswer): void {
    const { spaces } = this.#options;
    this.#attempts.make(() => spaces.noteFilled({ generation, filled }));
    if (rest === undefined) {
      this.#wantRest(request, pages);
      this.#answered(request);
      return;
    }
    const runs = this.#resolve({ request, pages, spans: [...rest.spans], provisional, payload: payloadOf(rest) });
    if (!this.#isRunning || provisional) {
      const kept = runs.map(compact);
      if (kept.every((run, at) => run !== runs[at])) free();
      for (const run of kept) this.#early.keep(run, spaces.wanted.get(request.pid));
      this.#answered(request);
      return;
    }
    if (request.speculative) spaces.wanted.get(request.pid)?.delete(request.page, pages);
    let left = runs.length;
    const isOver = (): void => {
      if (--left > 0) return;
      free();
      if (request.known) this.#letGo(request);
      this.#answered(request);
    };
    if (runs.length === 0) this.#answered(request);
    for (const run of runs) this.#filler.fillBehind(run, isOver);
  }

  get #isRunning(): boolean {
    return this.stage === "restored" || this.stage === "calm";
  }

  /** What of an answer can be used; what it lacks is wanted again. */
  #resolve(answer: Omit<PageAnswer, "keep">): EarlyRun[] {
    const { request, pages } = answer;
    const wanted = this.#options.spaces.wanted.get(request.pid);
    const { runs, lost } = this.#early.resolve(answer);
    for (const range of lost) wanted?.add(range.page, range.pages);
    this.#wantRest(request, pages);
    return runs;
  }

  /** Pages that are left out of an answer were not asked for, as far as anybody knows, when the answer is to a guess. */
  #wantRest({ pid, page, pages, speculative }: PageRequest, answered: number): void {
    if (answered < pages && !speculative) this.#options.spaces.wanted.get(pid)?.add(page + answered, pages - answered);
  }

  #letGo({ pid, page, pages }: EarlyRange): void {
    this.#early.held.delete(pid, page, pages);
  }

  /** An answer came to nothing. */
  #askOnceMore(request: PageRequest): void {
    this.#wantRest(request, 0);
    this.#answered(request);
  }

  /** A request, or a part of one, is over: there is room for the next. */
  #answered(request: PageRequest): void {
    if (this.#isOver.has(request)) return;
    this.#isOver.add(request);
    this.#count(request.priority, -request.pages);
    if (request.speculative) this.#early.ended(request);
    this.#options.onProgress();
  }

  #pumpAnnounced(): void {
    while (this.#backgroundBytes < mostInFlightBytes) {
      const next = this.#early.nextAnnounced();
      if (next === undefined) return;
      const { pid, ...range } = next;
      this.#ask({ pid, ranges: [range], priority: 3, speculative: true });
    }
  }

  #pumpWhole(): void {
    this.#askMissing(mostInFlightBytes);
    if (this.#pagesUnderWay > 0 || this.#saidCached) return;
    this.#saidCached = true;
    this.#options.onCached();
  }

  #pumpBackground(): void {
    this.#useHeld();
    this.#askMissing(Math.min(this.#options.start.windowBytes, mostInFlightBytes));
    if (this.#pagesUnderWay > 0 || this.#filling.size > 0 || this.#early.held.hasConfirmed) return;
    // Nothing is on its way, yet something is missing.
    this.#options.spaces.wantMissing();
    setImmediate(this.#options.onProgress);
  }

  /** Has what is held filled in; until it is, faults find it here. */
  #useHeld(): void {
    while (this.#filling.size < mostFilling) {
      const run = this.#early.held.nextConfirmed();
      if (run === undefined || this.#filling.has(run)) return;
      this.#filling.add(run);
      this.#filler.fillBehind(run, () => {
        this.#filling.delete(run);
        this.#letGo(run);
        this.#options.onProgress();
      });
    }
  }

  /** Asks for what is missing, provisional pages first, the processes in turn, within the window. */
  #askMissing(windowBytes: number): void {
    const { wanted } = this.#options.spaces;
    while (this.#backgroundBytes < windowBytes) {
      const unconfirmed = this.#early.nextUnconfirmed();
      if (unconfirmed !== undefined) {
        const { pid, ...range } = unconfirmed;
        this.#ask({ pid, ranges: [range], priority: 3, known: true });
        continue;
      }
      const pids = [...wanted.keys()].filter((pid) => wanted.get(pid)?.empty === false);
      const pid = pids[this.#nextProcess++ % pids.length];
      const ranges = pid === undefined ? undefined : wanted.get(pid)?.takeUnit(unitPages);
      if (pid === undefined || ranges === undefined) return;
      this.#ask({ pid, ranges, priority: 3 });
    }
  }
}
