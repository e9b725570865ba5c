/** Puts a job's frames, which come by several connections, back into their order. Frames may come twice. */
import { FrameError } from "../../shared/core/frames/frame.ts";
import { maxEarlyFrames } from "../../shared/core/frames/job-message.ts";

export class Arrivals<T> {
  readonly #early = new Map<number, T>();
  /** All frames below have arrived and were taken. */
  #next = 0;

  /** The frame that `take` waits for. */
  get next(): number {
    return this.#next;
  }

  /** Frames that have arrived before one that is missing. */
  get early(): number[] {
    return [...this.#early.keys()];
  }

  /** False for a frame that has arrived before. Throws FrameError when there are too many ahead of a missing one. */
  put(number: number, frame: T): boolean {
    if (number < this.#next || this.#early.has(number)) return false;
    if (this.#early.size >= maxEarlyFrames) throw new FrameError("too many frames ahead of a missing one");
    this.#early.set(number, frame);
    return true;
  }

  /** The next frame in order; undefined while it is missing. */
  take(): T | undefined {
    const frame = this.#early.get(this.#next);
    if (frame === undefined) return undefined;
    this.#early.delete(this.#next);
    this.#next++;
    return frame;
  }
}
