/** The frames of one job on the source: numbered, sent, kept until the destination has applied them. */
import { frameTypes, type FrameType } from "../shared/core/frames/frame.ts";
import { jobDataFlags, maxEarlyFrames, maxUnappliedBytes, numberJobFrame } from "../shared/core/frames/job-message.ts";
import type { FrameCompressor } from "./adapters/frame-compressor.ts";
import type { FramePool } from "./core/frame-pool.ts";
import type { Entry, Priority } from "./core/priority-queue.ts";
import type { Parcel, StreamScheduler } from "./stream-scheduler.ts";

/** A frame that was not applied yet. */
interface Kept {
  entry: Entry<Parcel>;
  /** As it was before compression: that much room it takes at the destination. */
  bytes: number;
}

export interface JobFramesOptions {
  scheduler: StreamScheduler;
  compressor: FrameCompressor;
  pool: FramePool;
  /** The job's number. */
  channel: number;
  priority: Priority;
}

/** Room for one more frame of any size. */
const fullBytes = maxUnappliedBytes - 512 * 1024;
const fullFrames = maxEarlyFrames / 2;

export class JobFrames {
  readonly #scheduler: StreamScheduler;
  readonly #compressor: FrameCompressor;
  readonly #pool: FramePool;
  readonly #channel: number;
  readonly #priority: Priority;
  /** By number, in order. */
  readonly #kept = new Map<number, Kept>();
  #keptBytes = 0;
  #next = 0;
  #ended: Error | undefined;
  #room: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor({ scheduler, compressor, pool, channel, priority }: JobFramesOptions) {
    this.#scheduler = scheduler;
    this.#compressor = compressor;
    this.#pool = pool;
    this.#channel = channel;
    this.#priority = priority;
  }

  /** Bytes sent and not applied yet, as they were before compression. */
  get unappliedBytes(): number {
    return this.#keptBytes;
  }

  /** Resolves as soon as more was applied. Rejects when the job has ended. */
  applied(): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise<void>((resolve, reject) => this.#room.push({ resolve, reject }));
  }

  /** Sends a frame of data, compressed if that pays. */
  async sendData(frame: Buffer): Promise<void> {
    const { frame: packed, flags } = await this.#compressor.pack(frame, this.#scheduler.waiting > 0);
    const { length } = frame;
    if (packed !== frame) this.#pool.release(frame);
    await this.send(frameTypes.jobData, packed, flags, length);
  }

  /** Sends a frame from `allocateJobFrame`; waits while too much was not applied yet. Rejects when the job has ended. */
  async send(type: FrameType, frame: Buffer, flags = 0, bytes = frame.length): Promise<void> {
    while (this.#ended === undefined && (this.#keptBytes > fullBytes || this.#kept.size > fullFrames))
      await this.applied();
    if (this.#ended !== undefined) throw this.#ended;
    const number = this.#next++;
    numberJobFrame(frame, number);
    this.#keptBytes += bytes;
    const parcel = { type, channel: this.#channel, flags, frame, link: undefined };
    this.#kept.set(number, { entry: this.#scheduler.push(parcel, this.#priority), bytes });
  }

  /** The destination has applied all frames below `next`. */
  acknowledge(next: number): void {
    let sentBytes = 0;
    let plainBytes = 0;
    let unpackedBytes = 0;
    for (const [number, { entry, bytes }] of this.#kept) {
      if (number >= next) break;
      this.#kept.delete(number);
      this.#keptBytes -= bytes;
      sentBytes += entry.item.frame.length;
      if ((entry.item.flags & jobDataFlags.zstd) === 0) plainBytes += bytes;
      else unpackedBytes += bytes;
      // It may wait to be sent again, though it had arrived: it must not leave with what is put into this memory next.
      this.#scheduler.cancel(entry);
      this.#pool.release(entry.item.frame);
    }
    this.#compressor.noteApplied({ bytes: sentBytes, unpackedBytes, plainBytes }, this.#scheduler.waiting > 0);
    this.#wake();
  }

  /** Of what was given to connections that are gone, sends again what has not arrived. */
  sendLostAgain(next: number, early: ReadonlySet<number>): void {
    for (const [number, kept] of this.#kept) {
      const { link } = kept.entry.item;
      if (link === undefined || link.open || number < next || early.has(number)) continue;
      kept.entry = this.#scheduler.push({ ...kept.entry.item, link: undefined }, this.#priority);
    }
  }

  /** Nothing is sent any more. */
  end(error: Error): void {
    this.#ended ??= error;
    for (const { entry } of this.#kept.values()) this.#scheduler.cancel(entry);
    this.#kept.clear();
    const waiting = this.#room;
    this.#room = [];
    for (const { reject } of waiting) reject(this.#ended);
  }

  #wake(): void {
    const waiting = this.#room;
    this.#room = [];
    for (const { resolve } of waiting) resolve();
  }
}
