/**
 * Everything that leaves by one connection goes through one queue. An item becomes a frame only when it is its turn
 * and the connection has room, so that what comes in meanwhile can still overtake it.
 *
 *     enqueue / push ──> PriorityQueue ──(room on the link)──> produce ──> link.write
 *
 * In flight on this side are at most `windowBytes` and one frame, and the kernel holds little more (link/tls-psk.ts).
 */
import type { FrameType } from "../shared/core/frames/frame.ts";
import type { FramedLink } from "../shared/link/framed.ts";
import { PriorityQueue, type Entry, type Priority } from "./core/priority-queue.ts";

export interface Outgoing {
  type: FrameType;
  channel: number;
  flags?: number;
  /** From `allocateFrame`. */
  frame: Buffer;
  /** Called once the system has taken the frame. */
  release?: () => void;
}
type Produce = () => Outgoing | Promise<Outgoing>;

/**
 * No frame is begun while this many bytes are in the making, or handed to the socket and not taken by the kernel, unless
 * told: what is begun, nothing overtakes.
 */
const usualWindowBytes = 256 * 1024;
/** Bytes of ready frames that may wait in a class before `push` makes its caller wait. */
const maxQueuedBytes = 1024 * 1024;

export class Sender {
  readonly #link: FramedLink;
  readonly #windowBytes: number;
  readonly #queue = new PriorityQueue<Produce>();
  /** Bytes of frames in the making, such as background pages being read. */
  #producingBytes = 0;
  #room: { priority: Priority; resolve: () => void; reject: (error: Error) => void }[] = [];
  #failure: Error | undefined;

  constructor(link: FramedLink, windowBytes = usualWindowBytes) {
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
  enqueue(priority: Priority, bytes: number, produce: Produce): Entry<Produce> {
    const entry = this.#queue.push(produce, priority, bytes);
    this.#pump();
    return entry;
  }

  /** Puts a ready frame into the queue, and waits while too much of its class is queued. Rejects on a lost link. */
  async push(priority: Priority, outgoing: Outgoing): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.enqueue(priority, outgoing.frame.length, () => outgoing);
    while (this.#queue.bytesOf(priority) > maxQueuedBytes) {
      await new Promise<void>((resolve, reject) => this.#room.push({ priority, resolve, reject }));
    }
  }

  /** Resolves once fewer than `length` items wait; rejects on a lost link. */
  async shorterThan(length: number): Promise<void> {
    while (this.#queue.length >= length) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve, reject) => this.#room.push({ priority: 0, resolve, reject }));
    }
  }

  #pump(): void {
    for (;;) {
      const next = this.#queue.peek();
      if (next === undefined || !this.#link.open) break;
      // A fault waits for nobody: it is one page.
      const free = this.#producingBytes + this.#link.pendingBytes < this.#windowBytes;
      if (!free && next.priority !== 0) break;
      this.#queue.pop();
      const made = next.item();
      if (!(made instanceof Promise)) {
        this.#write(made);
        continue;
      }
      this.#producingBytes += next.bytes;
      void made.then((outgoing) => {
        this.#producingBytes -= next.bytes;
        this.#write(outgoing);
        this.#pump();
      });
    }
    this.#wake();
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
