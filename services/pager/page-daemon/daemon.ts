/**
 * Serves the memory of one migration's processes: everything between CRIU's restore, the kernel and the source.
 *
 *     listening ──descriptors──> restoring ──"finished"──> draining ──nothing is missing──> drained
 *
 * Faults are answered from the first descriptor on. What was announced before is fetched and kept; the rest of the
 * background begins when the restore has finished: until then the container is down, and the processors of both nodes
 * have better things to do. Unless the migration is to be whole: then everything is fetched before the restore begins.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { Epoll } from "../adapters/epoll.ts";
import { RestoreSocket } from "../adapters/restore-socket.ts";
import { AddressSpaces } from "./address-spaces.ts";
import type { PageServerStats, ProcessPages } from "../page-server.ts";
import type { FromDaemon, StartDaemon } from "./messages.ts";
import { blockPages, type EarlyRun } from "../core/early-pages.ts";
import { EarlyFetch } from "./early-fetch.ts";
import { PageLane, type PageAnswer, type PageRequest } from "./page-lane.ts";

/** A change of a process's memory takes microseconds, unless its thread does not get to run. */
const changingPauseMs = 1;
/** Enough to fill 10 Gbit/s over 6 ms; more would only lengthen queues. */
const mostInFlightBytes = 8 << 20;
const statsPeriodMs = 200;
/**
 * The container's first steps come first. They fault in one page after the other, and with the background under way each
 * of these waits for processors and links: what takes 30 ms would take 300. So the background waits until no fault has
 * come for `calmMs`, at least `leastQuietMs` (CRIU says "finished" before it lets the tasks go) and at most `mostQuietMs`.
 */
const calmMs = 5;
const leastQuietMs = 10;
const mostQuietMs = 40;

export class PageDaemon {
  readonly #options: StartDaemon;
  readonly #tell: (message: FromDaemon) => void;
  readonly #spaces: AddressSpaces;
  readonly #epoll: Epoll;
  readonly #socket: RestoreSocket;
  readonly #bulk: PageLane;
  readonly #urgent: PageLane;
  readonly #abort = new AbortController();
  readonly #early: EarlyFetch;
  /** Faults of pages that are held here. */
  #localFaults: { pid: number; page: number }[] = [];
  #backgroundBytes = 0;
  #inFlight = 0;
  #nextProcess = 0;
  #isKnown = false;
  #saidCached = false;
  #usingHeld = false;
  #finishedAt: number | undefined;
  #lastFaultAt = 0;
  #isCalm = false;
  #ended = false;
  #retrying = false;

  /** Listens for CRIU's restore in the current directory; it may connect at once. */
  constructor(options: StartDaemon, tell: (message: FromDaemon) => void) {
    this.#options = options;
    this.#tell = tell;
    this.#early = new EarlyFetch(options.windowBytes);
    this.#epoll = new Epoll((fds) => this.#guard(() => this.#ready(fds)));
    this.#spaces = new AddressSpaces({
      watch: (fd) => this.#epoll.add(fd),
      unwatch: (fd) => this.#epoll.delete(fd),
      onFault: (pid, page) => {
        this.#lastFaultAt = performance.now();
        this.#fault(pid, page);
      },
      onNear: (pid, page, pages) => this.#ask({ pid, page, pages, priority: 2 }),
    });
    this.#socket = new RestoreSocket();
    if (this.#socket.listener !== undefined) this.#epoll.add(this.#socket.listener);
    this.#bulk = this.#lane("pages");
    this.#urgent = this.#lane("faults");
    setInterval(() => this.#look(), statsPeriodMs).unref();
  }

  /** Connects to the source. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(): Promise<void> {
    await Promise.all([this.#bulk.connect(), this.#urgent.connect()]);
  }

  /** What to serve; before the restore begins. */
  learn(processes: readonly ProcessPages[]): void {
    this.#spaces.learn(processes);
    this.#early.learn(this.#spaces.wanted);
    this.#isKnown = true;
    this.#guard(() => this.#pump());
  }

  /** Whether processes may be running here on pages that only the source has. */
  get needed(): boolean {
    // While a restore is connected it may be done by now, and only its word not read yet.
    if (this.#socket.connection !== undefined) return true;
    if (this.#finishedAt === undefined || this.#ended) return false;
    this.#spaces.dropDead();
    this.#endIfDrained();
    return !this.#spaces.empty;
  }

  stats(): PageServerStats {
    const { pagesFaulted, pagesPrefetched, zeroPages, faultLatency } = this.#spaces;
    return {
      pagesFaulted,
      pagesPrefetched,
      zeroPages,
      faults: faultLatency.count,
      faultLatencyMs: faultLatency.summary(),
      bytesReceived: this.#bulk.bytesReceived + this.#urgent.bytesReceived,
      pagesHeld: this.#early.held.pages,
    };
  }

  #lane(role: "pages" | "faults"): PageLane {
    const { migrationId, secret, source, reconnectMs } = this.#options;
    return new PageLane({
      migrationId,
      secret,
      source,
      role,
      reconnectMs,
      signal: this.#abort.signal,
      onAnswer: (answer) => this.#arrived(answer),
      onRefused: (request) => this.#answered(request),
      onMap: (map) => {
        this.#early.announce(map);
        this.#pump();
      },
      onLink: (lost) => this.#tell({ kind: "link", lost }),
      onFailure: (error) => this.#fail(error),
    });
  }

  #ready(fds: readonly number[]): void {
    for (const fd of fds) {
      if (fd === this.#socket.listener) this.#accept();
      else if (fd === this.#socket.connection) this.#receive();
      else this.#spaces.hear(fd);
    }
    this.#afterwards();
  }

  #accept(): void {
    const { listener } = this.#socket;
    if (listener === undefined || !this.#socket.accept()) return;
    this.#epoll.delete(listener);
    this.#socket.closeListener();
    if (this.#socket.connection !== undefined) this.#epoll.add(this.#socket.connection);
  }

  #receive(): void {
    for (let message = this.#socket.next(); message !== undefined; message = this.#socket.next()) {
      if (message.kind === "process") {
        this.#spaces.adopt(message.pid, message.fd);
        continue;
      }
      if (this.#socket.connection !== undefined) this.#epoll.delete(this.#socket.connection);
      this.#socket.closeConnection();
      if (message.kind === "closed")
        throw new DmigrateError("restore-failed", "CRIU's restore ended before it was done");
      this.#finishedAt = performance.now();
      this.#tell({ kind: "needed" });
      this.#spaces.finish();
      this.#awaitCalm(this.#finishedAt);
      return;
    }
  }

  #awaitCalm(finishedAt: number): void {
    const now = performance.now();
    const calmAt = Math.min(Math.max(finishedAt + leastQuietMs, this.#lastFaultAt + calmMs), finishedAt + mostQuietMs);
    this.#isCalm = now >= calmAt;
    if (this.#isCalm) this.#guard(() => this.#pump());
    else setTimeout(() => this.#awaitCalm(finishedAt), Math.ceil(calmAt - now));
  }

  #ask(request: Omit<PageRequest, "known" | "speculative"> & Partial<PageRequest>): void {
    const { pages, priority } = request;
    this.#inFlight += 1;
    if (priority === 3) this.#backgroundBytes += pages * pageBytes;
    (priority === 3 ? this.#bulk : this.#urgent).request({ known: false, speculative: false, ...request });
  }

  /** A thread waits for a page. Nothing may be filled in now: there may be more to hear. */
  #fault(pid: number, page: number): void {
    const held = this.#early.held.at(pid, page);
    if (held?.provisional === false) {
      this.#localFaults.push({ pid, page });
      return;
    }
    this.#ask({ pid, page, pages: 1, priority: 0, known: held !== undefined });
    if (held === undefined) return;
    for (const range of this.#early.takeUnconfirmed(held)) this.#ask({ ...range, priority: 2, known: true });
  }

  #arrived(answer: PageAnswer): Promise<void> | undefined {
    const { request, pages, keep } = answer;
    const { pid, priority, speculative, known } = request;
    const wanted = this.#spaces.wanted.get(pid);
    const { runs, lost } = this.#early.resolve(answer);
    for (const range of lost) wanted?.add(range.page, range.pages);
    // Pages that are left out were not asked for, as far as anybody knows, when the answer is to a guess.
    if (pages < request.pages && !speculative) wanted?.add(request.page + pages, request.pages - pages);
    if (priority !== 3 || (this.#finishedAt !== undefined && !answer.provisional)) {
      if (speculative) wanted?.delete(request.page, pages);
      const settled = (): void => {
        if (known && priority !== 0) this.#early.held.delete(pid, request.page, request.pages);
        this.#answered(request);
      };
      if (this.#fillAll(runs)) settled();
      else return this.#fillLater(runs).then(settled);
      return undefined;
    }
    keep();
    for (const run of runs) this.#early.keep(run, wanted);
    this.#answered(request);
    return undefined;
  }

  /** A request is over: there is room for the next. */
  #answered(request: PageRequest): void {
    this.#inFlight -= 1;
    if (request.priority === 3) this.#backgroundBytes -= request.pages * pageBytes;
    if (request.speculative) this.#early.ended(request);
    this.#afterwards();
  }

  async #fillLater(runs: readonly EarlyRun[]): Promise<void> {
    do await sleep(changingPauseMs);
    while (!this.#fillAll(runs));
  }

  /** False: to be tried again, after a pause; what is filled by then is passed over. */
  #fillAll(runs: readonly EarlyRun[]): boolean {
    // What waits to be heard would hinder the copying; and a fault is not to wait for it.
    this.#hearNow();
    const isDone = runs.every(({ pid, page, pages, spans, payload }) =>
      this.#spaces.fill(pid, page, pages, spans, payload),
    );
    if (!isDone) this.#hearNow();
    return isDone;
  }

  #hearNow(): void {
    for (const fd of this.#epoll.poll()) this.#spaces.hear(fd);
  }

  #afterwards(): void {
    this.#answerLocally();
    this.#endIfDrained();
    this.#pump();
    if ((!this.#spaces.unsettled && this.#localFaults.length === 0) || this.#retrying) return;
    this.#retrying = true;
    setTimeout(() => {
      this.#retrying = false;
      this.#guard(() => {
        this.#spaces.hearAll();
        this.#afterwards();
      });
    }, changingPauseMs);
  }

  /** Fills in the blocks of faulted pages that are here already. */
  #answerLocally(): void {
    const later: { pid: number; page: number }[] = [];
    for (let fault = this.#localFaults.pop(); fault !== undefined; fault = this.#localFaults.pop()) {
      const run = this.#early.held.at(fault.pid, fault.page);
      if (run !== undefined && !this.#use(run)) later.push(fault);
    }
    this.#localFaults = later;
  }

  /** Fills a run in and lets go of it. False: to be tried again. */
  #use(run: EarlyRun): boolean {
    if (!this.#fillAll([run])) return false;
    this.#early.held.delete(run.pid, run.page, run.pages);
    return true;
  }

  /** Fetches and fills in, as much as may be under way at this stage. */
  #pump(): void {
    if (this.#ended) return;
    if (!this.#isKnown) this.#pumpAnnounced();
    else if (this.#finishedAt === undefined) this.#pumpWhole();
    else if (this.#isCalm) this.#pumpBackground();
  }

  #pumpAnnounced(): void {
    while (this.#backgroundBytes < mostInFlightBytes) {
      const next = this.#early.nextAnnounced();
      if (next === undefined) return;
      this.#ask({ ...next, priority: 3, speculative: true });
    }
  }

  /** Everything before the restore, if the migration is to be whole. */
  #pumpWhole(): void {
    if (!this.#options.whole) return;
    this.#askMissing(mostInFlightBytes);
    if (this.#inFlight > 0 || this.#saidCached) return;
    this.#saidCached = true;
    this.#tell({ kind: "cached" });
  }

  #pumpBackground(): void {
    this.#useHeld();
    this.#askMissing(Math.min(this.#options.windowBytes, mostInFlightBytes));
    if (this.#inFlight > 0 || this.#spaces.empty || this.#early.held.hasConfirmed) return;
    // Nothing is on its way, yet something is missing.
    this.#spaces.wantMissing();
    setImmediate(() => this.#guard(() => this.#pump()));
  }

  /** Fills in what is held, a little at a time: faults are heard in between. */
  #useHeld(): void {
    const run = this.#usingHeld ? undefined : this.#early.held.nextConfirmed();
    if (run === undefined) return;
    this.#usingHeld = true;
    const isDone = this.#use(run);
    const goOn = (): void => {
      this.#usingHeld = false;
      this.#guard(() => this.#afterwards());
    };
    if (isDone) setImmediate(goOn);
    else setTimeout(goOn, changingPauseMs);
  }

  /** Asks for what is missing, provisional pages first, the processes in turn, within the window. */
  #askMissing(windowBytes: number): void {
    const { wanted } = this.#spaces;
    while (this.#backgroundBytes < windowBytes) {
      const unconfirmed = this.#early.nextUnconfirmed();
      if (unconfirmed !== undefined) {
        this.#ask({ ...unconfirmed, priority: 3, known: true });
        continue;
      }
      const pids = [...wanted.keys()].filter((pid) => wanted.get(pid)?.empty === false);
      const pid = pids[this.#nextProcess++ % pids.length];
      const run = pid === undefined ? undefined : wanted.get(pid)?.takeNext(blockPages);
      if (pid === undefined || run === undefined) return;
      this.#ask({ pid, ...run, priority: 3 });
    }
  }

  #endIfDrained(): void {
    if (this.#finishedAt === undefined || this.#ended || !this.#spaces.empty) return;
    this.#ended = true;
    this.#tell({ kind: "drained", drainMs: performance.now() - this.#finishedAt, stats: this.stats() });
    this.#epoll.stop();
    this.#abort.abort();
  }

  #look(): void {
    if (this.#socket.connection !== undefined || this.#finishedAt !== undefined)
      this.#tell({ kind: "stats", stats: this.stats() });
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Nothing is given up for it: a thread that waits for its page is the lesser evil. */
  #fail(error: Error): void {
    const code = error instanceof DmigrateError ? error.code : "restore-failed";
    this.#tell({ kind: "failed", code, message: error.message });
  }
}
