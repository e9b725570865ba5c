/**
 * One queue for all that leaves by several connections. A frame is given to a connection only when it is its turn and
 * the connection has room, so that what comes in meanwhile can still overtake it. With two connections or more, the one
 * that is open longest is kept for urgent frames.
 *
 *     push ──> PriorityQueue ──(room on a connection)──> link.write
 *
 * In flight on a connection are at most `windowBytes` and one frame, and the kernel holds little more (link/connect.ts).
 */
import type { FrameType } from "../shared/core/frames/frame.ts";
import type { FramedLink } from "../shared/link/framed.ts";
import { PriorityQueue, type Entry, type Priority } from "./core/priority-queue.ts";

export interface Parcel {
  type: FrameType;
  channel: number;
  flags: number;
  /** From `allocateFrame`; the scheduler's until it was written. */
  frame: Buffer;
  /** The connection that it was given to last. */
  link: FramedLink | undefined;
}

/** No frame is given to a connection that has this many bytes the kernel has not taken yet. */
const windowBytes = 256 * 1024;

/** What may go by the connection that is kept free. */
const isUrgent = (priority: Priority): boolean => priority <= 1;

export class StreamScheduler {
  readonly #queue = new PriorityQueue<Parcel>();
  /** In the order of their opening. */
  readonly #links: FramedLink[] = [];
  readonly #onUrgent: (isWaiting: boolean) => void;
  /** Urgent frames that the kernel has not taken yet. */
  #urgent = 0;
  #saidUrgent = false;

  /** `onUrgent` is told when urgent frames begin to wait for their connections, and when none does any more. */
  constructor(onUrgent: (isWaiting: boolean) => void = () => undefined) {
    this.#onUrgent = onUrgent;
  }

  get open(): boolean {
    return this.#links.length > 0;
  }

  get links(): readonly FramedLink[] {
    return this.#links;
  }

  /** Frames that wait for a connection to have room. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Uses a connection until it is gone. */
  add(link: FramedLink): void {
    this.#links.push(link);
    void link.closed.then(() => {
      const at = this.#links.indexOf(link);
      if (at >= 0) this.#links.splice(at, 1);
      this.#pump();
      this.#sayUrgent();
    });
    this.#pump();
    this.#sayUrgent();
  }

  push(parcel: Parcel, priority: Priority): Entry<Parcel> {
    const entry = this.#queue.push(parcel, priority, parcel.frame.length);
    if (isUrgent(priority)) this.#urgent++;
    this.#pump();
    this.#sayUrgent();
    return entry;
  }

  /** Takes a frame back; false when a connection has it already. */
  cancel(entry: Entry<Parcel>): boolean {
    const isBack = this.#queue.cancel(entry);
    if (isBack && isUrgent(entry.priority)) this.#urgent--;
    this.#sayUrgent();
    return isBack;
  }

  /** Without a connection nothing is gained by what others leave undone. */
  #sayUrgent(): void {
    const isWaiting = this.#urgent > 0 && this.open;
    if (isWaiting === this.#saidUrgent) return;
    this.#saidUrgent = isWaiting;
    this.#onUrgent(isWaiting);
  }

  #pump(): void {
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const link = this.#linkFor(next.priority);
      if (link === undefined) return;
      this.#queue.pop();
      const { item: parcel, priority } = next;
      parcel.link = link;
      const { type, channel, frame, flags } = parcel;
      link.write(type, channel, frame, {
        flags,
        onWritten: () => {
          if (isUrgent(priority)) this.#urgent--;
          this.#pump();
          this.#sayUrgent();
        },
      });
    }
  }

  /** The open connection with most room for it. */
  #linkFor(priority: Priority): FramedLink | undefined {
    let best: FramedLink | undefined;
    for (const [at, link] of this.#links.entries()) {
      if (!link.open || link.pendingBytes >= windowBytes) continue;
      if (at === 0 && this.#links.length > 1 && !isUrgent(priority)) continue;
      if (best === undefined || link.pendingBytes < best.pendingBytes) best = link;
    }
    return best;
  }
}
