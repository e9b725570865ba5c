/** Memory for records that is used again: fresh memory for each would cost more than the copying of what it holds. */
import { Buffer } from "node:buffer";
import { maxRecordBytes } from "./record.ts";

/** A record, its head and tag, and the head of the next one. */
export const recordRoomBytes = maxRecordBytes + 64;
/** What is below this size is cheap to make. */
const smallBytes = 4096;
const mostFree = 64;

export class PayloadPool {
  readonly #free: Buffer[] = [];
  /** By their memory: a payload is a part of what was taken. */
  readonly #taken = new WeakMap<ArrayBufferLike, Buffer>();
  readonly #allocate: (bytes: number) => Buffer;

  /** `allocate` gives fresh memory, when it is to be of a special kind. */
  constructor(allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes)) {
    this.#allocate = allocate;
  }

  /** `bytes` up to `recordRoomBytes`, not cleared. */
  take(bytes: number): Buffer {
    if (bytes < smallBytes) return Buffer.allocUnsafe(bytes);
    const whole = this.#free.pop() ?? this.#allocate(recordRoomBytes);
    this.#taken.set(whole.buffer, whole);
    return whole.subarray(0, bytes);
  }

  /** All of what `part` is the begin of: `recordRoomBytes`. Undefined when it was taken as less. */
  wholeOf(part: Buffer): Buffer | undefined {
    return this.#taken.get(part.buffer);
  }

  /** Nobody looks any more at what `take` gave, of which `part` is a part. */
  release(part: Buffer): void {
    const whole = this.#taken.get(part.buffer);
    if (whole === undefined) return;
    this.#taken.delete(part.buffer);
    this.restock(whole);
  }

  /** Memory of `recordRoomBytes`, such as the pool's own that it has lost sight of. */
  restock(whole: Buffer): void {
    if (this.#free.length < mostFree) this.#free.push(whole);
  }
}
