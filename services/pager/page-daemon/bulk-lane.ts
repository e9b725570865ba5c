/**
 * The daemon's end of its bulk thread: what is asked for here is fetched there, and filled in if it was placed. A thread
 * that dies, which it should not, is replaced, and what it was asked is asked again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { MemoryMap } from "../../shared/core/frames/memory-map.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../../shared/errors.ts";
import { FillLock } from "../adapters/fill-lock.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import type { Filled, Placement } from "../core/placement.ts";
import {
  board,
  type Answered,
  type BulkLink,
  type FillOutcome,
  type FromBulk,
  type SharedPages,
  type ToBulk,
} from "./bulk-messages.ts";
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
  #worker: Worker;
  #ended: Promise<void> = Promise.resolve();
  #events: BulkLaneEvents | undefined;
  #link: BulkLink | undefined;
  #wasConnected = false;
  #connecting: PromiseWithResolvers<undefined> | undefined;
  #closed = false;
  /** Held while what is known of the memory changes. */
  readonly lock = new FillLock(this.#board);

  /** Starts the thread, which inherits this one's priority. */
  constructor() {
    this.#worker = this.#start();
  }

  get bytesReceived(): number {
    return this.#bytesOfLostThreads + Number(Atomics.load(this.#received, 0));
  }

  /** Connects to the source, once. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(link: BulkLink, events: BulkLaneEvents): Promise<void> {
    this.#events = events;
    this.#link = link;
    this.#connecting = Promise.withResolvers<undefined>();
    this.#post({ kind: "connect", link, lost: undefined });
    await this.#connecting.promise;
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

  /** Ends the thread. Resolves when it has ended, after what it was doing just now. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#post({ kind: "end" });
    await this.#ended;
  }

  #start(): Worker {
    const worker = new Worker(program, { workerData: this.#board });
    let reason = "it ended";
    worker.on("message", (messages: readonly FromBulk[]) => {
      for (const message of messages) this.#take(message);
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
    if (this.#connecting !== undefined) {
      this.#connecting.reject(new DmigrateError("internal", reason));
      this.#connecting = undefined;
      this.#link = undefined;
    }
    await sleep(restartPauseMs);
    if (this.#closed) return;
    this.#worker = this.#start();
    this.#messages = [];
    const lost = this.#wasConnected ? reason : undefined;
    if (this.#link !== undefined) this.#post({ kind: "connect", link: this.#link, lost });
    // It may be what it was to fill in that the thread has died of.
    for (const [id, asking] of this.#asking) {
      asking.placement = undefined;
      this.#post({ kind: "ask", id, ...asking });
    }
    const filling = [...this.#filling.values()];
    this.#filling.clear();
    for (const { generation, onResult } of filling) onResult({ generation, filled: [], outcome: "hindered" });
  }

  /** What is said in one turn travels in one message. */
  #post(message: ToBulk): void {
    if (this.#messages.push(message) > 1) return;
    queueMicrotask(() => {
      this.#worker.postMessage(this.#messages);
      this.#messages = [];
    });
  }

  /** Whatever one message comes to, the others are heard. */
  #take(message: FromBulk): void {
    try {
      this.#hear(message);
    } catch (error) {
      this.#events?.onFailure(asDmigrateError(error, "internal", "the page daemon failed"));
    }
  }

  #hear(message: FromBulk): void {
    switch (message.kind) {
      case "connected":
        this.#wasConnected = true;
        this.#connecting?.resolve(undefined);
        this.#connecting = undefined;
        return;
      case "unconnected":
        this.#connecting?.reject(new DmigrateError(message.code, message.message));
        this.#connecting = undefined;
        return;
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
      case "link":
        this.#events?.onLink(message.lost);
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
