/** Puts the records of one direction together again, however their bytes were split on the way. */
import koffi from "koffi";
import { FrameError } from "../core/frames/frame.ts";
import { recordBytesOf, recordHeadBytes, type RecordCipher } from "../core/frames/record.ts";

export class RecordReader {
  readonly #cipher: RecordCipher;
  readonly #allocate: (bytes: number) => Buffer;
  readonly #head = Buffer.alloc(recordHeadBytes);
  #headFilled = 0;
  #record: Buffer | undefined;
  #filled = 0;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;

  /** `allocate` gives the memory for a record, of just that length. */
  constructor(cipher: RecordCipher, allocate: (bytes: number) => Buffer) {
    this.#cipher = cipher;
    this.#allocate = allocate;
  }

  /** Gives more bytes, once the last were used up. They must stay as they are until then, or until `keep`. */
  feed(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Copies what is left of the bytes given, so that their buffer may be used again. */
  keep(): void {
    this.#chunk = Buffer.from(this.#chunk.subarray(this.#at));
    this.#at = 0;
  }

  /** True between records: a connection that ends elsewhere was cut. */
  get idle(): boolean {
    return this.#record === undefined && this.#headFilled === 0;
  }

  /** What the next whole record holds, its memory the caller's own; undefined when more bytes are needed. Throws FrameError. */
  next(): Buffer | undefined {
    if (this.#record === undefined) {
      this.#headFilled += this.#take(this.#head, this.#headFilled);
      if (this.#headFilled < recordHeadBytes) return undefined;
      this.#record = this.#allocate(recordHeadBytes + recordBytesOf(this.#head) + this.#cipher.tagBytes);
      this.#head.copy(this.#record);
      this.#filled = recordHeadBytes;
      this.#headFilled = 0;
    }
    const record = this.#record;
    this.#filled += this.#take(record, this.#filled);
    if (this.#filled < record.length) return undefined;
    this.#record = undefined;
    const bytes = record.length - recordHeadBytes - this.#cipher.tagBytes;
    if (!this.#cipher.open(koffi.address(record), bytes)) throw new FrameError("a record was changed on its way");
    return record.subarray(recordHeadBytes, recordHeadBytes + bytes);
  }

  #take(target: Buffer, filled: number): number {
    const taken = this.#chunk.copy(target, filled, this.#at);
    this.#at += taken;
    return taken;
  }
}
