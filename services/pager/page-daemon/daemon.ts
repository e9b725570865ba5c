/**
 * Serves the memory of one migration's processes: everything between CRIU's restore, the kernel and the source.
 *
 *     listening ──descriptors──> restoring ──"finished"──> draining ──nothing is missing──> drained
 *
 * Faults are answered from the first descriptor on. What was announced before is fetched and kept; the rest of the
 * background begins when the restore has finished: until then the container is down, and the processors of both nodes
 * have better things to do. Unless the migration is to be whole: then everything is fetched before the restore begins.
 */
import { DmigrateError } from "../../shared/errors.ts";
import { Epoll } from "../adapters/epoll.ts";
import type { RestoreEnd } from "../adapters/restore-socket.ts";
import type { PageServerStats, ProcessPages } from "../page-server.ts";
import { FaultPace } from "../core/fault-pace.ts";
import { AddressSpaces } from "./address-spaces.ts";
import type { BulkLanes } from "./bulk-lanes.ts";
import type { Holder } from "./held-elsewhere.ts";
import type { FromDaemon, StartDaemon } from "./messages.ts";
import { PageFetch } from "./page-fetch.ts";

/** A change of a process's memory takes microseconds, unless its thread does not get to run. */
const changingPauseMs = 1;
const statsPeriodMs = 200;
/** So long after a fault the next one is waited for in the kernel, where it is heard of soonest. */
const expectMs = 2;
/**
 * The container's first steps come first. They fault in one page after the other, and with the background under way each
 * of these waits for processors and links: what takes 30 ms would take 300. So the background waits until no fault has
 * come for `calmMs`, at least `leastQuietMs` (CRIU says "finished" before it lets the tasks go) and at most `mostQuietMs`.
 */
const calmMs = 5;
const leastQuietMs = 10;
const mostQuietMs = 40;

/** Four answers each: others have their turn then. */
const mostTakes = 16;
/** Nothing wakes who waits for it. */
const never = new Int32Array(new SharedArrayBuffer(4));

export interface PageDaemonOptions {
  start: StartDaemon;
  /** The maker's to end, or to use for another one once this one is drained. */
  bulk: BulkLanes;
  /** Where the restore comes, perhaps at once. */
  restore: RestoreEnd;
  /** Should this process die, the descriptors outlive it. */
  holder?: Holder;
  tell: (message: FromDaemon) => void;
}

export class PageDaemon {
  readonly #tell: (message: FromDaemon) => void;
  readonly #spaces: AddressSpaces;
  readonly #epoll: Epoll;
  readonly #bulk: BulkLanes;
  readonly #restore: RestoreEnd;
  readonly #fetch: PageFetch;
  readonly #abort = new AbortController();
  /** Descriptor of the faults' connection, while there is one: its number may by then be another file's. */
  #urgent: number | undefined;
  readonly #pace = new FaultPace();
  #finishedAt: number | undefined;
  #lastFaultAt = 0;
  #ended = false;
  #goesOnSoon = false;
  #retry: NodeJS.Timeout | undefined;
  #retryAt = Infinity;
  readonly #looking: NodeJS.Timeout;

  constructor({ start, bulk, restore, holder, tell }: PageDaemonOptions) {
    this.#tell = tell;
    this.#bulk = bulk;
    this.#restore = restore;
    this.#epoll = new Epoll({
      onReady: (fds) => this.#guard(() => this.#ready(fds)),
      // An answer to a fault comes within a fraction of a millisecond, and the next fault soon after it.
      isExpecting: () => this.#fetch.isWaiting || performance.now() - this.#lastFaultAt < expectMs,
    });
    this.#spaces = new AddressSpaces({
      watch: (fd) => this.#epoll.add(fd),
      unwatch: (fd) => this.#epoll.delete(fd),
      lock: bulk.lock,
      onFault: (pid, page) => {
        this.#lastFaultAt = performance.now();
        this.#fetch.fault(pid, page);
      },
      onNear: (pid, ranges) => this.#fetch.near(pid, ranges),
      holder,
    });
    this.#fetch = new PageFetch({
      ...{ start, bulk, spaces: this.#spaces, signal: this.#abort.signal },
      hear: () => this.#hearNow(),
      onProgress: () => this.#goOnSoon(),
      onCached: () => tell({ kind: "cached" }),
      onUrgent: (fd) => {
        if (this.#urgent !== undefined) this.#epoll.delete(this.#urgent);
        this.#urgent = undefined;
        if (fd !== undefined) this.#epoll.add(fd);
        this.#urgent = fd;
      },
      onLink: (lost) => tell({ kind: "link", lost }),
      onFailure: (error) => this.#fail(error),
    });
    if (restore.listener !== undefined) this.#epoll.add(restore.listener);
    this.#looking = setInterval(() => this.#look(), statsPeriodMs).unref();
  }

  /** Connects to the source. Throws `unavailable`, `unauthorized` or `cancelled`. */
  connect(): Promise<void> {
    return this.#fetch.connect();
  }

  /** What to serve; before the restore begins. */
  learn(processes: readonly ProcessPages[]): void {
    this.#spaces.learn(processes);
    this.#guard(() => this.#fetch.learn());
  }

  /** Whether processes may be running here on pages that only the source has. */
  get needed(): boolean {
    // While a restore is connected it may be done by now, and only its word not read yet.
    if (this.#restore.connection !== undefined) return true;
    if (this.#finishedAt === undefined || this.#ended) return false;
    this.#spaces.dropDead();
    this.#endIfDrained();
    return !this.#spaces.empty;
  }

  /** The holder is another one, or there is none any more. */
  holdAnew(): void {
    this.#guard(() => {
      this.#spaces.holdAnew();
      this.#endIfDrained();
    });
  }

  /** The holder has let go what it was asked to. */
  letGone(id: number): void {
    this.#guard(() => {
      this.#spaces.letGone(id);
      this.#endIfDrained();
    });
  }

  stats(): PageServerStats {
    const { pagesFaulted, pagesPrefetched, zeroPages, faultLatency } = this.#spaces;
    return {
      pagesFaulted,
      pagesPrefetched,
      zeroPages,
      faults: faultLatency.count,
      faultLatencyMs: faultLatency.summary(),
      ...this.#fetch.stats,
    };
  }

  #ready(fds: readonly number[]): void {
    let hasAnswered = false;
    for (const fd of fds) {
      if (fd === this.#restore.listener) this.#accept();
      else if (fd === this.#restore.connection) this.#receive();
      else if (fd === this.#urgent) hasAnswered = this.#fetch.takeUrgent();
      else this.#spaces.hear(fd);
    }
    this.#afterwards();
    if (hasAnswered && this.#fetch.stage === "calm") this.#keepPace();
  }

  /** After a round of answers: the next is to wait, where processors are short. */
  #keepPace(): void {
    const pauseMs = this.#pace.pauseMs(performance.now(), this.#bulk.isShortOfProcessors);
    if (pauseMs === 0) return;
    // What has come too is not to wait; what is asked for now comes meanwhile.
    for (let times = 0; times < mostTakes && this.#fetch.takeUrgent();) times++;
    this.#hearNow();
    Atomics.wait(never, 0, 0, pauseMs);
  }

  #accept(): void {
    const { listener } = this.#restore;
    if (listener === undefined || !this.#restore.accept()) return;
    this.#epoll.delete(listener);
    this.#restore.closeListener();
    if (this.#restore.connection !== undefined) this.#epoll.add(this.#restore.connection);
  }

  #receive(): void {
    for (let message = this.#restore.next(); message !== undefined; message = this.#restore.next()) {
      if (message.kind === "process") {
        this.#spaces.adopt(message.pid, message.fd);
        continue;
      }
      if (this.#restore.connection !== undefined) this.#epoll.delete(this.#restore.connection);
      this.#restore.closeConnection();
      if (message.kind === "closed")
        throw new DmigrateError("restore-failed", "CRIU's restore ended before it was done");
      this.#finishedAt = performance.now();
      this.#tell({ kind: "needed" });
      this.#spaces.finish();
      this.#fetch.stage = "restored";
      this.#awaitCalm(this.#finishedAt);
      return;
    }
  }

  #awaitCalm(finishedAt: number): void {
    const now = performance.now();
    const calmAt = Math.min(Math.max(finishedAt + leastQuietMs, this.#lastFaultAt + calmMs), finishedAt + mostQuietMs);
    if (now >= calmAt) {
      this.#fetch.stage = "calm";
      this.#guard(() => this.#afterwards());
    } else setTimeout(() => this.#awaitCalm(finishedAt), Math.ceil(calmAt - now));
  }

  /** Of the kernel's word; an answer of the source is not taken within another one. */
  #hearNow(): void {
    for (const fd of this.#epoll.poll()) if (fd !== this.#urgent) this.#spaces.hear(fd);
  }

  #afterwards(): void {
    this.#fetch.answerLocally();
    this.#endIfDrained();
    // What threads wait for was asked for before all this.
    this.#spaces.lookAround();
    if (!this.#ended) this.#fetch.pump();
    this.#fetch.flush();
    this.#tryAgainSoon();
  }

  /** As soon as something is to be tried again, and no sooner: the source may have nothing to give for seconds. */
  #tryAgainSoon(): void {
    const pauses = [this.#spaces.unsettled ? changingPauseMs : undefined, this.#fetch.retryMs];
    const pauseMs = Math.min(...pauses.map((each) => each ?? Infinity));
    const at = performance.now() + pauseMs;
    if (at >= this.#retryAt) return;
    clearTimeout(this.#retry);
    this.#retryAt = at;
    this.#retry = setTimeout(() => {
      this.#retryAt = Infinity;
      this.#guard(() => {
        this.#spaces.hearAll();
        this.#fetch.askAgain();
        this.#afterwards();
      });
    }, pauseMs);
  }

  /** Once, whatever comes together. */
  #goOnSoon(): void {
    if (this.#goesOnSoon) return;
    this.#goesOnSoon = true;
    setImmediate(() => {
      this.#goesOnSoon = false;
      this.#guard(() => this.#afterwards());
    });
  }

  #endIfDrained(): void {
    if (this.#finishedAt === undefined || this.#ended || !this.#spaces.empty) return;
    this.#ended = true;
    this.#tell({ kind: "drained", drainMs: performance.now() - this.#finishedAt, stats: this.stats() });
    clearInterval(this.#looking);
    this.#epoll.stop();
    this.#abort.abort();
  }

  #look(): void {
    const stats = this.stats();
    // Until it is used there is nothing to tell of, unless pages come ahead of their processes.
    if (this.#restore.connection !== undefined || this.#finishedAt !== undefined || stats.pagesAnnounced > 0)
      this.#tell({ kind: "stats", stats });
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
