/**
 * What was asked of the source's memory by connections of one kind, and its answers: for a thread that waits in poll(2).
 * When a connection is lost, whatever was not answered is asked again by the next one: requests are never lost, only late.
 */
import { unpackPayload } from "../../shared/adapters/packed-pages.ts";
import type { Watched } from "../../shared/adapters/poller.ts";
import { frameTypes, FrameError, type Frame } from "../../shared/core/frames/frame.ts";
import { decodeMemoryMap, type MemoryMap } from "../../shared/core/frames/memory-map.ts";
import {
  decodeSpans,
  encodePageRequest,
  pageErrorFlags,
  pageFlags,
  type PagesKept,
  type PageSpan,
} from "../../shared/core/frames/page-message.ts";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { Connection } from "../../shared/link/connection.ts";
import { RecordSocket } from "../../shared/link/record-socket.ts";
import { ReceivedPages } from "../core/received-pages.ts";

export interface PageRequest {
  pid: number;
  /** First page, in the images. */
  page: number;
  pages: number;
  priority: 0 | 2 | 3;
  /** This side holds what was sent of these pages while the container ran. */
  known: boolean;
  /** Asked before it was known which pages the process has: that they cannot be read is no failure. */
  speculative: boolean;
}

export interface PageAnswer {
  request: PageRequest;
  /** At least one, at most as many as asked. */
  pages: number;
  spans: PageSpan[];
  /** The container ran when they were read. */
  provisional: boolean;
  /** The memory that the spans' contents are in; used again once the handler is through, unless it calls `keep`. */
  payload: Buffer;
  keep: () => void;
}

export interface PageLaneOptions {
  /** Gives the memory for answers. */
  pool?: PayloadPool;
  onAnswer: (answer: PageAnswer) => void;
  /** The source could not answer a speculative request. */
  onRefused: (request: PageRequest) => void;
  /** The source tells of pages that it has. */
  onMap: (map: MemoryMap) => void;
  /** The connection is of no use any more: it is its owner's, who is to bring another one. */
  onLost: (reason: string) => void;
  /** The source cannot give these pages. */
  onFailure: (error: DmigrateError) => void;
}

/** Before a source that was not ready is asked again: it has just been started anew. */
const notYetPauseMs = 250;
const requestFrameBytes = 64;
const denseFlags = pageFlags.marked | pageFlags.packed;
/** Records that are taken in one turn: then others have theirs. */
const mostAtOnce = 4;
/** What the source may tell of its pages, in all: more is passed over, since the images tell of it too. Half a million runs. */
const mostMapBytes = 8 << 20;

export class PageLane implements Watched {
  readonly #options: PageLaneOptions;
  readonly #pool: PayloadPool;
  readonly #unanswered = new Map<number, PageRequest>();
  /** Of those: not written yet. */
  #unwritten: number[] = [];
  /** To be asked again, and when; the earliest first. */
  #later: { at: number; channel: number }[] = [];
  #socket: RecordSocket | undefined;
  /** What is kept for answers by this connection. */
  #kept: ReceivedPages;
  #lastChannel = 0;
  #patienceMs = 0;
  #bytesOfLostConnections = 0;
  #mapBytes = 0;
  /** Since when the source has had nothing but "not yet" to say. */
  #refusedSince: number | undefined;

  constructor(options: PageLaneOptions) {
    this.#options = options;
    this.#pool = options.pool ?? new PayloadPool();
    this.#kept = new ReceivedPages(this.#pool, unpackPayload);
  }

  get bytesReceived(): number {
    return this.#bytesOfLostConnections + (this.#socket?.bytesReceived ?? 0);
  }

  /** Of the connection; -1, which poll(2) passes over, when there is none. */
  get fd(): number {
    return this.#socket?.fd ?? -1;
  }

  readonly isReading = true;

  get isWriting(): boolean {
    return this.#socket?.isWriting === true;
  }

  /** Something was asked that may be answered at any moment. */
  get isWaiting(): boolean {
    return this.#socket !== undefined && this.#unanswered.size > this.#later.length;
  }

  /** When `askAgain` has something to do; undefined when it has not. */
  get nextAt(): number | undefined {
    return this.#later[0]?.at;
  }

  /**
   * Goes on by a connection, whose descriptor stays its owner's to close: with all that is not answered. `patienceMs`: how
   * long the source may have nothing but "not yet" to say.
   */
  use(connection: Connection, patienceMs: number): void {
    this.#drop();
    this.#patienceMs = patienceMs;
    this.#socket = new RecordSocket(connection, (bytes) => this.#pool.take(bytes));
    this.#unwritten = [...this.#unanswered.keys()];
    this.#later = [];
    this.onReady();
  }

  /** Nothing more is asked; the connection is its owner's again. */
  end(): void {
    this.#drop();
  }

  /** Asks; `flush` has it leave. */
  request(request: PageRequest): void {
    this.#lastChannel = (this.#lastChannel + 1) >>> 0;
    this.#unanswered.set(this.#lastChannel, request);
    this.#unwritten.push(this.#lastChannel);
  }

  /** Sends what was asked, as far as the system has room. */
  flush(): void {
    this.#guard((socket) => this.#write(socket));
  }

  /** Something came, or there is room to write. */
  readonly onReady = (): void => {
    this.#guard((socket) => {
      socket.flush();
      this.#write(socket);
      // What is here already the system does not tell of again.
      for (let read = 0; (read < mostAtOnce || socket.hasAhead) && this.#socket === socket; read++) {
        const record = socket.read();
        if (record === undefined) return;
        this.#receive(record.frames, record.memory);
      }
    });
  };

  /** Asks again what the source was not ready for. `now`: on the clock of `performance.now`. */
  askAgain(now: number): void {
    while (this.#later[0] !== undefined && this.#later[0].at <= now) {
      const next = this.#later.shift();
      if (next !== undefined) this.#unwritten.push(next.channel);
    }
    this.flush();
  }

  #write(socket: RecordSocket): void {
    let written = 0;
    for (const channel of this.#unwritten) {
      if (!socket.hasRoom(requestFrameBytes)) break;
      written++;
      const request = this.#unanswered.get(channel);
      if (request === undefined) continue;
      const { pid, page, pages, priority, known } = request;
      const vaddr = BigInt(page) * BigInt(pageBytes);
      const dense = mayBeDense(request);
      socket.write(frameTypes.pageRequest, channel, encodePageRequest({ pid, vaddr, pages, priority, known, dense }));
    }
    this.#unwritten.splice(0, written);
    socket.flush();
  }

  #receive(read: readonly Frame[], record: Buffer): void {
    const { frames, memory, kept } = this.#kept.open(read, record);
    let isKept = false as boolean;
    const keep = (): void => void (isKept = true);
    try {
      // Whoever keeps an answer gives back the memory of its record, once.
      if (frames.length > 1 && frames.some(({ type }) => type === frameTypes.pages))
        throw new FrameError("the source put pages and other frames into one record");
      for (const frame of frames) this.#take(frame, memory, keep, kept);
    } finally {
      if (!isKept) this.#pool.release(memory);
    }
  }

  #take({ type, channel, flags, payload }: Frame, memory: Buffer, keep: () => void, kept?: PagesKept): void {
    if (type === frameTypes.memoryMap) {
      this.#mapBytes += payload.length;
      if (this.#mapBytes <= mostMapBytes) this.#options.onMap(decodeMemoryMap(payload));
      return;
    }
    const request = this.#unanswered.get(channel);
    if (request === undefined || this.#isToBeAsked(channel))
      throw new FrameError(`the source answered request ${channel}, which was not asked`);
    if (type === frameTypes.pageError) {
      this.#refused(channel, request, flags, payload);
      return;
    }
    this.#refusedSince = undefined;
    if (type !== frameTypes.pages) throw new FrameError(`the source sent a frame of type ${type} on a page connection`);
    if ((flags & denseFlags) !== 0 && !mayBeDense(request))
      throw new FrameError("the source gave a dense answer where it was not asked for one");
    const { pages, spans } = decodeSpans(
      payload,
      flags & ~pageFlags.packed,
      payload.byteOffset - memory.byteOffset,
      kept,
    );
    if (pages > request.pages) throw new FrameError(`${pages} pages arrived where ${request.pages} were asked`);
    const provisional = (flags & pageFlags.provisional) !== 0;
    if (provisional && !request.speculative)
      throw new FrameError("the source answered out of memory that was not frozen yet");
    if (!request.known && spans.some(({ at }) => at === "same"))
      throw new FrameError("the source takes pages for known that it was not told of");
    // Answered is what its owner has: whatever fails before costs the link, and is asked for again over the next.
    this.#options.onAnswer({ request, pages, spans, provisional, payload: memory, keep });
    this.#unanswered.delete(channel);
  }

  #refused(channel: number, request: PageRequest, flags: number, text: Buffer): void {
    if (flags === pageErrorFlags.notYet && this.#hasTime()) {
      this.#later.push({ at: performance.now() + notYetPauseMs, channel });
      return;
    }
    this.#unanswered.delete(channel);
    if (request.speculative) this.#options.onRefused(request);
    else {
      const message = `the source could not read pages: ${text.toString()}`;
      this.#options.onFailure(new DmigrateError("transfer-failed", message));
    }
  }

  /** Not asked yet, or to be asked again: an answer to that is no peer's of ours, and would be counted twice. */
  #isToBeAsked(channel: number): boolean {
    return this.#unwritten.includes(channel) || this.#later.some((later) => later.channel === channel);
  }

  #hasTime(): boolean {
    this.#refusedSince ??= performance.now();
    return performance.now() - this.#refusedSince < this.#patienceMs;
  }

  #guard(work: (socket: RecordSocket) => void): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    try {
      work(socket);
    } catch (error) {
      this.#drop();
      this.#options.onLost(messageOf(error));
    }
  }

  /** Not any more when the connection was lost meanwhile. */
  #drop(): void {
    if (this.#socket === undefined) return;
    this.#bytesOfLostConnections += this.#socket.bytesReceived;
    this.#socket.close();
    this.#socket = undefined;
    this.#kept = new ReceivedPages(this.#pool, unpackPayload);
  }
}

/** Pages that somebody waits for go by another connection, and are to be answered without ado. */
const mayBeDense = ({ priority }: PageRequest): boolean => priority !== 0;
