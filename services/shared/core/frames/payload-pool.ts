/** Memory for payloads that is used again: fresh memory for each would cost more than the copying of what it holds. */
import { Buffer } from "node:buffer";
import { maxPayloadBytes } from "./frame.ts";

/** Payloads below this size are cheap to make. */
const smallBytes = 4096;
const mostFree = 64;

export class PayloadPool {
  readonly #free: Buffer[] = [];
  readonly #wholeOf = new WeakMap<Buffer, Buffer>();
  readonly #allocate: (bytes: number) => Buffer;

  /** `allocate` gives fresh memory, when it is to be of a special kind. */
  constructor(allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes)) {
    this.#allocate = allocate;
  }

  /** `bytes` up to `maxPayloadBytes`, not cleared. */
  take(bytes: number): Buffer {
    if (bytes < smallBytes) return Buffer.allocUnsafe(bytes);
    const whole = this.#free.pop() ?? this.#allocate(maxPayloadBytes);
    const payload = whole.subarray(0, bytes);
    this.#wholeOf.set(payload, whole);
    return payload;
  }

  /** Nobody looks at a payload that `take` gave any more. */
  release(payload: Buffer): void {
    const whole = this.#wholeOf.get(payload);
    if (whole === undefined) return;
    this.#wholeOf.delete(payload);
    this.restock(whole);
  }

  /** Memory of `maxPayloadBytes`, such as the pool's own that it has lost sight of. */
  restock(whole: Buffer): void {
    if (this.#free.length < mostFree) this.#free.push(whole);
  }
}
