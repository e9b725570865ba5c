/**
 * Everything that leaves by one connection goes through one queue. An item becomes a frame only when it is its turn
 * and the connection has room, so that what comes in meanwhile can still overtake it.
 *
 *     enqueue ──> PriorityQueue ──(room on the link)──> produce ──> link.write
 *
 * In flight on this side are at most `windowBytes` and one frame, and the kernel holds little more (link/connect.ts).
 */
import type { FrameType } from "../shared/core/frames/frame.ts";
import type { FramedLink } from "../shared/link/framed.ts";
import { PriorityQueue, type Priority } from "./core/priority-queue.ts";

export interface Outgoing {
  type: FrameType;
  channel: number;
  flags?: number;
  /** From `allocateFrame`. */
  frame: Buffer;
  /** Called once the system has taken the frame. */
  release?: () => void;
}
type Produce = () => Outgoing;

/**
 * Items that are made in one turn. Each may read 16 MiB of memory, to say in a few bytes that it is zero; then whoever
 * else the thread serves has his turn.
 */
const mostAtOnce = 16;

export class Sender {
  readonly #link: FramedLink;
  readonly #windowBytes: number;
  readonly #queue = new PriorityQueue<Produce>();
  #room: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #failure: Error | undefined;
  /** Items made in this turn. */
  #made = 0;

  /**
   * No frame is begun while `windowBytes` were handed to the socket and not taken by the kernel: what is begun, nothing
   * overtakes.
   */
  constructor(link: FramedLink, windowBytes: number) {
    this.#link = link;
    this.#windowBytes = windowBytes;
    void link.closed.then((reason) => this.#fail(reason ?? new Error("the connection was closed")));
  }

  /** Items waiting for their turn. */
  get length(): number {
    return this.#queue.length;
  }

  /**
   * Puts an item into the queue. `produce` runs when its turn has come, and may not fail; `bytes` is its size as a
   * frame, estimated. Items are dropped when the link is gone.
   */
  enqueue(priority: Priority, bytes: number, produce: Produce): void {
    this.#queue.push(produce, priority, bytes);
    this.#pump();
  }

  /** Resolves once fewer than `length` items wait; rejects on a lost link. */
  async shorterThan(length: number): Promise<void> {
    while (this.#queue.length >= length) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve, reject) => this.#room.push({ resolve, reject }));
    }
  }

  #pump(): void {
    for (;;) {
      const next = this.#queue.peek();
      if (next === undefined || !this.#link.open) break;
      // A fault waits for nobody: it is one page.
      const free = this.#link.pendingBytes < this.#windowBytes;
      if (!free && next.priority !== 0) break;
      if (this.#made === mostAtOnce) break;
      if (this.#made++ === 0) setImmediate(() => this.#begin());
      this.#queue.pop();
      this.#write(next.item());
    }
    this.#wake();
  }

  /** A new turn. */
  #begin(): void {
    this.#made = 0;
    this.#pump();
  }

  #write({ type, channel, flags = 0, frame, release }: Outgoing): void {
    const onWritten = (): void => {
      release?.();
      this.#pump();
    };
    this.#link.write(type, channel, frame, { flags, onWritten });
  }

  #wake(): void {
    if (this.#room.length === 0) return;
    const waiting = this.#room;
    this.#room = [];
    for (const { resolve } of waiting) resolve();
  }

  #fail(error: Error): void {
    this.#failure = error;
    for (let entry = this.#queue.pop(); entry !== undefined; entry = this.#queue.pop());
    const waiting = this.#room;
    this.#room = [];
    for (const { reject } of waiting) reject(error);
  }
}
