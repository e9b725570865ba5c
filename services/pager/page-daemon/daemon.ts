/**
 * Serves the memory of one migration's processes: everything between CRIU's restore, the kernel and the source.
 *
 *     listening ──descriptors──> restoring ──"finished"──> draining ──nothing is missing──> drained
 *
 * Faults are answered from the first descriptor on. The background begins when the restore has finished: until then the
 * container is down, and the processors of both nodes have better things to do.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { maxDataPages } from "../../shared/core/frames/page-message.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { Epoll } from "../adapters/epoll.ts";
import { RestoreSocket } from "../adapters/restore-socket.ts";
import { AddressSpaces } from "./address-spaces.ts";
import type { PageServerStats, ProcessPages } from "../page-server.ts";
import type { FromDaemon, StartDaemon } from "./messages.ts";
import { PageLane, type PageAnswer } from "./page-lane.ts";

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
const calmMs = 12;
const leastQuietMs = 40;
const mostQuietMs = 250;

export class PageDaemon {
  readonly #options: StartDaemon;
  readonly #tell: (message: FromDaemon) => void;
  readonly #spaces: AddressSpaces;
  readonly #epoll: Epoll;
  readonly #socket: RestoreSocket;
  readonly #bulk: PageLane;
  readonly #urgent: PageLane;
  readonly #abort = new AbortController();
  #backgroundBytes = 0;
  #inFlight = 0;
  #nextProcess = 0;
  #finishedAt: number | undefined;
  #lastFaultAt = 0;
  #isCalm = false;
  #ended = false;
  #retrying = false;

  /** Listens for CRIU's restore in the current directory; it may connect at once. */
  constructor(options: StartDaemon, tell: (message: FromDaemon) => void) {
    this.#options = options;
    this.#tell = tell;
    this.#epoll = new Epoll((fds) => this.#guard(() => this.#ready(fds)));
    this.#spaces = new AddressSpaces({
      watch: (fd) => this.#epoll.add(fd),
      unwatch: (fd) => this.#epoll.delete(fd),
      onFault: (pid, page) => {
        this.#lastFaultAt = performance.now();
        this.#ask(pid, page, 1, 0);
      },
      onNear: (pid, page, pages) => this.#ask(pid, page, pages, 2),
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

  #ask(pid: number, page: number, pages: number, priority: 0 | 2 | 3): void {
    this.#inFlight += 1;
    if (priority === 3) this.#backgroundBytes += pages * pageBytes;
    (priority === 3 ? this.#bulk : this.#urgent).request({ pid, page, pages, priority });
  }

  #arrived(answer: PageAnswer): Promise<void> | undefined {
    return this.#fill(answer) ? undefined : this.#fillLater(answer);
  }

  async #fillLater(answer: PageAnswer): Promise<void> {
    do await sleep(changingPauseMs);
    while (!this.#fill(answer));
  }

  /** False: to be tried again, after a pause. */
  #fill({ request, pages, spans, payload }: PageAnswer): boolean {
    // What waits to be heard would hinder the copying; and a fault is not to wait for it.
    this.#hearNow();
    if (!this.#spaces.fill(request.pid, request.page, pages, spans, payload)) {
      this.#hearNow();
      return false;
    }
    this.#inFlight -= 1;
    if (request.priority === 3) this.#backgroundBytes -= request.pages * pageBytes;
    if (pages < request.pages) this.#spaces.wanted.get(request.pid)?.add(request.page + pages, request.pages - pages);
    this.#afterwards();
    return true;
  }

  #hearNow(): void {
    for (const fd of this.#epoll.poll()) this.#spaces.hear(fd);
  }

  #afterwards(): void {
    this.#endIfDrained();
    this.#pump();
    if (!this.#spaces.unsettled || this.#retrying) return;
    this.#retrying = true;
    setTimeout(() => {
      this.#retrying = false;
      this.#guard(() => {
        this.#spaces.hearAll();
        this.#afterwards();
      });
    }, changingPauseMs);
  }

  /** Asks for what is missing, the processes in turn, within the window. */
  #pump(): void {
    if (this.#finishedAt === undefined || this.#ended || !this.#isCalm) return;
    const { wanted } = this.#spaces;
    const window = Math.min(this.#options.windowBytes, mostInFlightBytes);
    while (this.#backgroundBytes < window) {
      const pids = [...wanted.keys()].filter((pid) => wanted.get(pid)?.empty === false);
      const pid = pids[this.#nextProcess++ % pids.length];
      if (pid === undefined) break;
      const run = wanted.get(pid)?.takeNext(maxDataPages);
      if (run !== undefined) this.#ask(pid, run.page, run.pages, 3);
    }
    if (this.#inFlight === 0 && !this.#spaces.empty) {
      // Nothing is on its way, yet something is missing.
      this.#spaces.wantMissing();
      setImmediate(() => this.#guard(() => this.#pump()));
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
