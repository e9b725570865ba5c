/**
 * One connection to the source's memory, and what was asked over it. When it is lost it is made anew, and what was not
 * answered is asked again: requests are never lost, only late.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { frameTypes, FrameError, type Frame } from "../../shared/core/frames/frame.ts";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import { decodeMemoryMap, type MemoryMap } from "../../shared/core/frames/memory-map.ts";
import {
  decodeSpans,
  encodePageRequest,
  pageErrorFlags,
  pageFlags,
  type PageSpan,
  type Role,
} from "../../shared/core/frames/page-message.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { openLink, type DialOptions } from "../../shared/link/dial.ts";
import type { FramedLink } from "../../shared/link/framed.ts";

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
  /** Holds the contents; used again once the handler is through, unless it calls `keep`. */
  payload: Buffer;
  keep: () => void;
}

export interface PageLaneOptions extends Omit<DialOptions, "role" | "allocate"> {
  role: Exclude<Role, "files">;
  reconnectMs: number;
  /** Gives the memory for payloads. */
  pool?: PayloadPool;
  /** A promise holds up the lane until it is settled. */
  onAnswer: (answer: PageAnswer) => void | Promise<void>;
  /** The source could not answer a speculative request. */
  onRefused: (request: PageRequest) => void;
  /** The source tells of pages that it has. */
  onMap: (map: MemoryMap) => void;
  /** With a reason when the link is lost, without when it is back. */
  onLink: (lost: string | undefined) => void;
  /** The source cannot give these pages, or stays away. */
  onFailure: (error: DmigrateError) => void;
}

const firstPauseMs = 100;
const longestPauseMs = 2_000;
/** Before a source that was not ready is asked again: it has just been started anew. */
const notYetPauseMs = 250;

export class PageLane {
  readonly #options: PageLaneOptions;
  readonly #pool: PayloadPool;
  readonly #unanswered = new Map<number, PageRequest>();
  #link: FramedLink | undefined;
  #lastChannel = 0;
  #bytesOfLostLinks = 0;
  /** Since when the source has had nothing but "not yet" to say. */
  #refusedSince: number | undefined;

  constructor(options: PageLaneOptions) {
    this.#options = options;
    this.#pool = options.pool ?? new PayloadPool();
  }

  get bytesReceived(): number {
    return this.#bytesOfLostLinks + (this.#link?.bytesReceived ?? 0);
  }

  /** Connects once. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(): Promise<void> {
    const allocate = (bytes: number): Buffer => this.#pool.take(bytes);
    const link = await openLink({ ...this.#options, allocate }, (frame) => this.#receive(frame));
    this.#link = link;
    const again = [...this.#unanswered];
    for (const [channel, request] of again) this.#write(link, channel, request);
    void link.closed.then((reason) => {
      this.#bytesOfLostLinks += link.bytesReceived;
      this.#link = undefined;
      if (!this.#options.signal.aborted) void this.reconnect(messageOf(reason ?? new Error("closed")));
    });
  }

  request(request: PageRequest): void {
    this.#lastChannel = (this.#lastChannel + 1) >>> 0;
    this.#unanswered.set(this.#lastChannel, request);
    if (this.#link !== undefined) this.#write(this.#link, this.#lastChannel, request);
  }

  /** Tries again and again, as long as a lost link may stay away; then it is a failure. */
  async reconnect(reason: string): Promise<void> {
    const { onLink, onFailure, reconnectMs, signal } = this.#options;
    onLink(reason);
    const deadline = performance.now() + reconnectMs;
    for (let pause = firstPauseMs; !signal.aborted; pause = Math.min(pause * 2, longestPauseMs)) {
      const error = await this.connect().then(() => undefined, messageOf);
      if (error === undefined) {
        onLink(undefined);
        return;
      }
      if (performance.now() > deadline) {
        onFailure(new DmigrateError("unavailable", `the source stayed away for ${reconnectMs / 1000} s: ${error}`));
        return;
      }
      await sleep(pause);
    }
  }

  #write(link: FramedLink, channel: number, { pid, page, pages, priority, known }: PageRequest): void {
    const vaddr = BigInt(page) * BigInt(pageBytes);
    link.write(frameTypes.pageRequest, channel, encodePageRequest({ pid, vaddr, pages, priority, known }));
  }

  #receive({ type, channel, flags, payload }: Frame): void | Promise<void> {
    if (type === frameTypes.memoryMap) {
      this.#options.onMap(decodeMemoryMap(payload));
      this.#pool.release(payload);
      return;
    }
    const request = this.#unanswered.get(channel);
    if (request === undefined) throw new FrameError(`the source answered request ${channel}, which was not asked`);
    if (type === frameTypes.pageError) {
      if (flags === pageErrorFlags.notYet && this.#hasTime()) {
        this.#askLater(channel, request);
        return;
      }
      this.#unanswered.delete(channel);
      if (request.speculative) {
        this.#options.onRefused(request);
        return;
      }
      const text = `the source could not read pages: ${payload.toString()}`;
      this.#options.onFailure(new DmigrateError("transfer-failed", text));
      return;
    }
    this.#refusedSince = undefined;
    if (type !== frameTypes.pages) throw new FrameError(`the source sent a frame of type ${type} on a page connection`);
    const { pages, spans } = decodeSpans(payload, flags);
    if (pages > request.pages) throw new FrameError(`${pages} pages arrived where ${request.pages} were asked`);
    const provisional = (flags & pageFlags.provisional) !== 0;
    if (provisional && !request.speculative)
      throw new FrameError("the source answered out of memory that was not frozen yet");
    if (!request.known && spans.some(({ at }) => at === "same"))
      throw new FrameError("the source takes pages for known that it was not told of");
    // Answered is what is in its place: whatever fails before costs the link, and is asked for again over the next.
    const done = (): void => void this.#unanswered.delete(channel);
    let kept = false;
    const keep = (): void => void (kept = true);
    const release = (): void => {
      if (!kept) this.#pool.release(payload);
    };
    const wait = this.#options.onAnswer({ request, pages, spans, provisional, payload, keep });
    if (wait !== undefined) return wait.then(done).finally(release);
    done();
    release();
  }

  #hasTime(): boolean {
    this.#refusedSince ??= performance.now();
    return performance.now() - this.#refusedSince < this.#options.reconnectMs;
  }

  /** Over the same link; over another one it is asked again anyway. */
  #askLater(channel: number, request: PageRequest): void {
    const link = this.#link;
    setTimeout(() => {
      if (link !== undefined && this.#link === link) this.#write(link, channel, request);
    }, notYetPauseMs);
  }
}
