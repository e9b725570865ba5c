/** Answers the page requests of one connection out of the frozen memory, by priority: it decides, and does no I/O but reading it. */
import { FrameError, frameTypes, type Frame, type FrameType } from "../shared/core/frames/frame.ts";
import {
  decodePageRequest,
  encodePageError,
  maxDataBytesOf,
  pageErrorFlags,
  type EncodedPages,
  type PageRepeats,
  type PageRequest,
} from "../shared/core/frames/page-message.ts";
import { messageOf } from "../shared/errors.ts";
import { PriorityQueue, type Priority } from "./core/priority-queue.ts";
import type { PageGate } from "./page-thread/page-gate.ts";
import type { PagePacker } from "./page-thread/page-packer.ts";
import { RepeatedPages } from "./core/repeated-pages.ts";

/** Requests that may wait before no more are read from the connection. */
const maxWaiting = 8_192;

export interface PageStats {
  pagesSent: number;
  zeroPages: number;
  /** That were told by the place of an equal one, sent before over the same connection. */
  equalPages: number;
}

/** An answer; `release` is called once its memory may be used again. */
export interface Answer extends EncodedPages {
  release: () => void;
}

/** The frozen memory. */
export interface PageReader {
  /** Throws when not even the first page can be read: before it has looked at `repeats`, whose word is then to be sent. */
  read: (request: PageRequest, repeats?: PageRepeats) => Answer;
}

/** A frame to send. */
export interface Outgoing {
  type: FrameType;
  channel: number;
  flags: number;
  /** From `allocateFrame`. */
  frame: Buffer;
  /** To be called once the frame may be used again. */
  release?: () => void;
}

export interface PageAnswersOptions {
  /** Asked anew for each request: it may be opened after the connection was. */
  memory: () => PageReader | undefined;
  counters: PageStats;
  /** In one answer, whatever was asked. */
  mostPages: number;
  /** Holds back all that is not waited for while it is closed. */
  gate: PageGate;
  /** For answers that may be dense. */
  packer: PagePacker;
}

export class PageAnswers {
  readonly #memory: () => PageReader | undefined;
  readonly #stats: PageStats;
  readonly #mostPages: number;
  readonly #gate: PageGate;
  readonly #packer: PagePacker;
  /** An item becomes a frame only when it is its turn, so that what comes in meanwhile can still overtake it. */
  readonly #queue = new PriorityQueue<() => Outgoing>();
  /** Of this connection's answers; once there is an asker who keeps pages. */
  #repeats: RepeatedPages | undefined;

  constructor({ memory, counters, mostPages, gate, packer }: PageAnswersOptions) {
    this.#memory = memory;
    this.#stats = counters;
    this.#mostPages = mostPages;
    this.#gate = gate;
    this.#packer = packer;
  }

  /** There is something that may leave now. */
  get hasNext(): boolean {
    const next = this.#queue.peek();
    return next !== undefined && (next.priority <= 1 || !this.#gate.isClosed);
  }

  /** No more is to be taken just now. */
  get isFull(): boolean {
    return this.#queue.length >= maxWaiting;
  }

  /** A request. Throws FrameError when it is none. */
  take({ type, channel, payload }: Frame): void {
    if (type !== frameTypes.pageRequest) throw new FrameError(`a frame of type ${type} on the page connection`);
    const asked = decodePageRequest(payload);
    const request = { ...asked, pages: Math.min(asked.pages, this.#mostPages) };
    this.#queue.push(() => this.#answer(channel, request), request.priority, maxDataBytesOf(request.pages));
  }

  /** Puts a frame among the answers. */
  add(priority: Priority, outgoing: Outgoing): void {
    this.#queue.push(() => outgoing, priority, outgoing.frame.length);
  }

  /** What is to leave next; undefined when nothing may now. */
  next(): Outgoing | undefined {
    return this.hasNext ? this.#queue.pop()?.item() : undefined;
  }

  #answer(channel: number, request: PageRequest): Outgoing {
    try {
      const from = this.#memory();
      if (from === undefined) return refuse(channel, "the container's memory is not open yet", pageErrorFlags.notYet);
      const repeats = request.dense ? (this.#repeats ??= new RepeatedPages()) : undefined;
      const { pages, zeroPages, equalPages, ...plain } = from.read(request, repeats);
      const outgoing = request.dense ? this.#packer.pack(plain, this.#queue.length > 0) : plain;
      this.#stats.pagesSent += pages;
      this.#stats.zeroPages += zeroPages;
      this.#stats.equalPages += equalPages;
      return { type: frameTypes.pages, channel, ...outgoing };
    } catch (error) {
      return refuse(channel, error);
    }
  }
}

const refuse = (channel: number, error: unknown, flags = 0): Outgoing => ({
  ...{ type: frameTypes.pageError, channel, flags },
  frame: encodePageError(messageOf(error)),
});
