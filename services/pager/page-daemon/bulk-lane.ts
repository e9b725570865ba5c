/**
 * The daemon's end of its bulk thread: what is asked for here is fetched there, and filled in if it was placed. A thread
 * that dies, which it should not, is replaced, and what it was asked is asked again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { MemoryMap } from "../../shared/core/frames/memory-map.ts";
import { closeBell, makeBell, ring } from "../../shared/adapters/bell.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../../shared/errors.ts";
import type { DialOptions } from "../../shared/link/dial.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import type { ReaderRole } from "../../shared/link/preamble.ts";
import { FillLock } from "../adapters/fill-lock.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import { PageSet } from "../core/page-set.ts";
import type { Filled, Placement } from "../core/placement.ts";
import {
  board,
  type Answered,
  type BulkOptions,
  type BulkRequest,
  type FillOutcome,
  type FromBulk,
  type SharedPages,
  type ToBulk,
} from "./bulk-messages.ts";
import { PageDialer } from "./page-dialer.ts";
import type { PageRequest } from "./page-lane.ts";

/** An answer to a part of a request; what of it was filled in already is told apart. */
export interface BulkAnswer extends Omit<Answered, "id" | "asked"> {
  request: PageRequest;
  /** Of the placement that `filled` went by. */
  generation: number;
  /** To be called when nobody looks at what is left to fill in any more; or never. */
  free: () => void;
}

/** A request is over: what of it was filled in, all that there was no answer of. */
export interface BulkFilled {
  request: BulkRequest;
  /** So many of its pages were in no answer. */
  pages: number;
  generation: number;
  filled: readonly Filled[];
}

export interface FillResult {
  generation: number;
  filled: readonly Filled[];
  outcome: FillOutcome;
}

export interface BulkLaneEvents {
  /** Of what was not merely filled in. */
  onAnswer: (answer: BulkAnswer) => void;
  onFilled: (filled: BulkFilled) => void;
  /** The source could not answer a part of a speculative request. */
  onRefused: (request: PageRequest) => void;
  onMap: (map: MemoryMap) => void;
  /** With a reason when the link is lost, without when it is back. */
  onLink: (lost: string | undefined) => void;
  onFailure: (error: DmigrateError) => void;
}

interface Asking {
  request: BulkRequest;
  placement: Placement | undefined;
  /** What there was an answer of, or a refusal. */
  answered: PageRange[];
}

interface Filling {
  generation: number;
  onResult: (result: FillResult) => void;
}

export interface BulkLink extends Omit<DialOptions, "signal"> {
  role: ReaderRole;
  /** How long a lost link may stay away. */
  reconnectMs: number;
}

const restartPauseMs = 100;
const program = new URL("./bulk-thread.ts", import.meta.url);

export class BulkLane {
  readonly #board = new SharedArrayBuffer(board.bytes);
  readonly #received = new BigUint64Array(this.#board, board.receivedAt, 1);
  readonly #waited = new Int32Array(this.#board, board.waitedAt, 1);
  #bytesOfLostThreads = 0;
  readonly #asking = new Map<number, Asking>();
  readonly #filling = new Map<number, Filling>();
  #messages: ToBulk[] = [];
  #lastId = 0;
  readonly #bell = makeBell();
  #worker: Worker;
  #ended: Promise<void> = Promise.resolve();
  #events: BulkLaneEvents | undefined;
  #dialer: PageDialer | undefined;
  /** Of the dialer. */
  #abort = new AbortController();
  #disconnected: PromiseWithResolvers<void> | undefined;
  #closed = false;
  #isBellClosed = false;
  /** Held while what is known of the memory changes. */
  readonly lock = new FillLock(this.#board);

  /** Starts the thread, which inherits this one's priority. */
  constructor() {
    this.#worker = this.#start();
  }

  get bytesReceived(): number {
    return this.#bytesOfLostThreads + Number(Atomics.load(this.#received, 0));
  }

  /** Of the last while, the share in which the thread waited for a processor: 0 to 1. */
  get processorWait(): number {
    return Atomics.load(this.#waited, 0) / 1000;
  }

  /** Connects to a source. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect({ reconnectMs, ...link }: BulkLink, events: BulkLaneEvents): Promise<void> {
    this.#events = events;
    this.#dialer = new PageDialer({
      ...{ ...link, reconnectMs, signal: this.#abort.signal },
      onConnection: (connection) => {
        this.#post({ kind: "connection", connection, patienceMs: reconnectMs });
        this.flush();
      },
      onLink: events.onLink,
      onFailure: events.onFailure,
    });
    await this.#dialer.connect();
  }

  /** Lets go of the source, and of all that it was asked: another one may follow. Resolves when nothing more is heard of it. */
  async disconnect(): Promise<void> {
    this.#disconnected ??= Promise.withResolvers();
    this.#post({ kind: "disconnect" });
    await this.#disconnected.promise;
    this.#disconnected = undefined;
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#dialer = undefined;
    this.#events = undefined;
    this.#asking.clear();
    this.#filling.clear();
    this.#bytesOfLostThreads = 0;
  }

  /** Asks the source. With a placement what comes is filled in at once, if that is the latest still. */
  request(request: BulkRequest, placement?: Placement): void {
    const id = ++this.#lastId;
    this.#asking.set(id, { request, placement, answered: [] });
    this.#post({ kind: "ask", id, request, placement });
  }

  /** Fills in a run that is here. */
  fill({ page, spans, payload }: EarlyRun, placement: Placement, onResult: (result: FillResult) => void): void {
    const id = ++this.#lastId;
    this.#filling.set(id, { generation: placement.generation, onResult });
    this.#post({ kind: "fill", id, image: page, placement, spans, memory: memoryOf(payload) });
  }

  /** What was said and not sent yet: it is sent at the end of the turn, unless that is too late. */
  flush(): void {
    if (this.#messages.length === 0 || this.#isBellClosed) return;
    this.#worker.postMessage(this.#messages);
    this.#messages = [];
    ring(this.#bell);
  }

  /** Ends the thread. Resolves when it has ended, after what it was doing just now. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#post({ kind: "end" });
      this.flush();
    }
    await this.#ended;
    // Not before: it may be using them.
    this.#abort.abort();
    if (!this.#isBellClosed) closeBell(this.#bell);
    this.#isBellClosed = true;
  }

  #start(): Worker {
    const workerData: BulkOptions = { shared: this.#board, bell: this.#bell };
    const worker = new Worker(program, { workerData });
    let reason = "it ended";
    worker.on("message", (messages: readonly FromBulk[]) => {
      for (const message of messages) this.#guard(() => this.#hear(message));
    });
    worker.on("error", (error) => (reason = messageOf(error)));
    this.#ended = new Promise((resolve) => worker.once("exit", () => resolve()));
    worker.on("exit", () => {
      if (!this.#closed) void this.#replace(`the bulk thread failed: ${reason}`);
    });
    worker.unref();
    return worker;
  }

  async #replace(reason: string): Promise<void> {
    Atomics.store(this.#waited, 0, 0);
    this.#bytesOfLostThreads = this.bytesReceived;
    Atomics.store(this.#received, 0, 0n);
    await sleep(restartPauseMs);
    if (this.#closed) return;
    this.#worker = this.#start();
    this.#messages = [];
    if (this.#disconnected !== undefined) {
      // Of what the dead one had to do, nothing is wanted.
      this.#disconnected.resolve();
      return;
    }
    // It may be what it was to fill in that the thread has died of.
    for (const [id, asking] of this.#asking) {
      asking.placement = undefined;
      this.#post({ kind: "ask", id, request: { ...asking.request, ranges: unanswered(asking) }, placement: undefined });
    }
    // Its connection is of no use without what it had read of it.
    void this.#dialer?.lost(reason);
    const filling = [...this.#filling.values()];
    this.#filling.clear();
    for (const { generation, onResult } of filling)
      this.#guard(() => onResult({ generation, filled: [], outcome: "hindered" }));
  }

  #post(message: ToBulk): void {
    if (this.#messages.push(message) === 1) queueMicrotask(() => this.flush());
  }

  /** Whatever one message comes to, the others are heard. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#events?.onFailure(asDmigrateError(error, "internal", "the page daemon failed"));
    }
  }

  #hear(message: FromBulk): void {
    switch (message.kind) {
      case "answered": {
        const { id, asked, pages, provisional, filled, rest } = message;
        const { request, generation } = this.#part(id, asked);
        const memory = rest?.memory;
        const free = (): void => {
          if (memory !== undefined) this.#post({ kind: "free", memory });
        };
        this.#events?.onAnswer({ request, generation, pages, provisional, filled, rest, free });
        return;
      }
      case "refused":
        this.#events?.onRefused(this.#part(message.id, message.asked).request);
        return;
      case "over": {
        const asking = this.#askingOf(message.id);
        this.#asking.delete(message.id);
        const { request, answered } = asking;
        const pages = sum(request.ranges) - sum(answered);
        this.#events?.onFilled({ request, pages, generation: generationOf(asking), filled: message.filled });
        return;
      }
      case "filled": {
        const filling = this.#filling.get(message.id);
        this.#filling.delete(message.id);
        filling?.onResult({ generation: filling.generation, filled: message.filled, outcome: message.outcome });
        return;
      }
      case "map":
        this.#events?.onMap(message.map);
        return;
      case "lost":
        void this.#dialer?.lost(message.reason);
        return;
      case "disconnected":
        this.#disconnected?.resolve();
        return;
      case "failure":
        this.#events?.onFailure(new DmigrateError(message.code, message.message));
        return;
    }
  }

  /** The part of a request that was answered, or refused. */
  #part(id: number, asked: PageRange): { request: PageRequest; generation: number } {
    const asking = this.#askingOf(id);
    asking.answered.push(asked);
    const { ranges: _, ...request } = asking.request;
    return { request: { ...request, ...asked }, generation: generationOf(asking) };
  }

  #askingOf(id: number): Asking {
    const asking = this.#asking.get(id);
    if (asking === undefined) throw new Error(`the bulk thread answered request ${id}, which was not asked`);
    return asking;
  }
}

const generationOf = ({ placement }: Asking): number => placement?.generation ?? 0;
const sum = (ranges: readonly PageRange[]): number => ranges.reduce((all, { pages }) => all + pages, 0);

/** What the thread that has died was still to answer, or has filled in without a word. */
function unanswered({ request, answered }: Asking): PageRange[] {
  const left = new PageSet();
  for (const { page, pages } of request.ranges) left.add(page, pages);
  for (const { page, pages } of answered) left.delete(page, pages);
  return left.all().map(({ start, end }) => ({ page: start, pages: end - start }));
}

/** Payloads of the bulk thread are in shared memory from their begin on. */
export const payloadOf = ({ memory }: SharedPages): Buffer =>
  memory === undefined ? Buffer.alloc(0) : Buffer.from(memory);
const memoryOf = (payload: Buffer): SharedArrayBuffer | undefined =>
  payload.length === 0 ? undefined : (payload.buffer as unknown as SharedArrayBuffer);
