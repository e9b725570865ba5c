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
import { FillLock } from "../adapters/fill-lock.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import type { Filled, Placement } from "../core/placement.ts";
import {
  board,
  type Answered,
  type BulkOptions,
  type FillOutcome,
  type FromBulk,
  type SharedPages,
  type ToBulk,
} from "./bulk-messages.ts";
import { PageDialer } from "./page-dialer.ts";
import type { PageRequest } from "./page-lane.ts";

/** An answer; what of it was filled in already is told apart. */
export interface BulkAnswer extends Omit<Answered, "id"> {
  request: PageRequest;
  /** Of the placement that `filled` went by. */
  generation: number;
}

export interface FillResult {
  generation: number;
  filled: readonly Filled[];
  outcome: FillOutcome;
}

export interface BulkLaneEvents {
  /** What is left to fill in is the receiver's: it says `free` when it is through with it, or just lets go. */
  onAnswer: (answer: BulkAnswer) => void;
  /** The source could not answer a speculative request. */
  onRefused: (request: PageRequest) => void;
  onMap: (map: MemoryMap) => void;
  /** With a reason when the link is lost, without when it is back. */
  onLink: (lost: string | undefined) => void;
  onFailure: (error: DmigrateError) => void;
}

interface Asking {
  request: PageRequest;
  placement: Placement | undefined;
}

interface Filling {
  generation: number;
  onResult: (result: FillResult) => void;
}

export interface BulkLink extends Omit<DialOptions, "role" | "signal"> {
  /** How long a lost link may stay away. */
  reconnectMs: number;
}

const restartPauseMs = 100;
const program = new URL("./bulk-thread.ts", import.meta.url);

export class BulkLane {
  readonly #board = new SharedArrayBuffer(board.bytes);
  readonly #received = new BigUint64Array(this.#board, board.receivedAt, 1);
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
  readonly #abort = new AbortController();
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

  /** Connects to the source. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect({ reconnectMs, ...link }: BulkLink, events: BulkLaneEvents): Promise<void> {
    this.#events = events;
    this.#dialer = new PageDialer({
      ...{ ...link, reconnectMs, role: "pages", signal: this.#abort.signal },
      onConnection: (connection) => {
        this.#post({ kind: "connection", connection, patienceMs: reconnectMs });
        this.flush();
      },
      onLink: events.onLink,
      onFailure: events.onFailure,
    });
    await this.#dialer.connect();
  }

  /** Asks the source. With a placement what comes is filled in at once, if that is the latest still. */
  request(request: PageRequest, placement?: Placement): void {
    const id = ++this.#lastId;
    this.#asking.set(id, { request, placement });
    this.#post({ kind: "ask", id, request, placement });
  }

  /** Fills in a run that is here. */
  fill({ page, spans, payload }: EarlyRun, placement: Placement, onResult: (result: FillResult) => void): void {
    const id = ++this.#lastId;
    this.#filling.set(id, { generation: placement.generation, onResult });
    this.#post({ kind: "fill", id, image: page, placement, spans, memory: memoryOf(payload) });
  }

  /** Nobody looks at an answer's contents any more. */
  free(memory: SharedArrayBuffer | undefined): void {
    if (memory !== undefined) this.#post({ kind: "free", memory });
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
    this.#bytesOfLostThreads = this.bytesReceived;
    Atomics.store(this.#received, 0, 0n);
    await sleep(restartPauseMs);
    if (this.#closed) return;
    this.#worker = this.#start();
    this.#messages = [];
    // It may be what it was to fill in that the thread has died of.
    for (const [id, asking] of this.#asking) {
      asking.placement = undefined;
      this.#post({ kind: "ask", id, ...asking });
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
        const asking = this.#asked(message.id);
        const generation = asking.placement?.generation ?? 0;
        const { pages, provisional, filled, rest } = message;
        this.#events?.onAnswer({ request: asking.request, generation, pages, provisional, filled, rest });
        return;
      }
      case "refused":
        this.#events?.onRefused(this.#asked(message.id).request);
        return;
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
      case "failure":
        this.#events?.onFailure(new DmigrateError(message.code, message.message));
        return;
    }
  }

  #asked(id: number): Asking {
    const asking = this.#asking.get(id);
    if (asking === undefined) throw new Error(`the bulk thread answered request ${id}, which was not asked`);
    this.#asking.delete(id);
    return asking;
  }
}

/** Payloads of the bulk thread are in shared memory from their begin on. */
export const payloadOf = ({ memory }: SharedPages): Buffer =>
  memory === undefined ? Buffer.alloc(0) : Buffer.from(memory);
const memoryOf = (payload: Buffer): SharedArrayBuffer | undefined =>
  payload.length === 0 ? undefined : (payload.buffer as unknown as SharedArrayBuffer);
