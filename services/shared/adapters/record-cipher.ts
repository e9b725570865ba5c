/**
 * Seals and opens the records of a data connection with AES-128-GCM (NIST SP 800-38D); the tag covers the record's head. Where
 * nothing is to be hidden only the tag is made (GMAC, the same publication), and the bytes travel as they are.
 * The nonce is made as in TLS 1.3 (RFC 8446, 5.3): the connection's, with the number of the record mixed in. So a record
 * that is changed, left out, repeated or put elsewhere does not open. A key serves one direction of one connection, and
 * for some 2^36 blocks (a terabyte) its bounds are far away.
 *
 * Node's own ciphers make objects and copies for each message; OpenSSL's functions (aes-gcm.ts) seal in place in a sixth
 * of the time (16 µs for 256 KiB).
 */
import koffi from "koffi";
import { recordHeadBytes, type RecordCipher } from "../core/frames/record.ts";
import {
  aes128Gcm,
  begin,
  control,
  controls,
  end,
  freeContext,
  keepDirection,
  keyBytes,
  makeContext,
  nonceBytes,
  tagBytes,
  update,
} from "./aes-gcm.ts";

const copy = koffi.load(null).func("void *memcpy(void *, const void *, size_t)") as (...args: unknown[]) => unknown;

/** Of one direction of a connection. */
export interface RecordKey {
  key: Buffer;
  nonce: Buffer;
}

/** `authenticate`: whoever listens may read, but what is changed on its way is noticed. */
export type Protection = "encrypt" | "authenticate";

/** Bytes of key material that `recordKeyOf` takes. */
export const recordKeyBytes = keyBytes + nonceBytes;

/** Cuts key material for one direction; `bytes` has `recordKeyBytes`. */
export const recordKeyOf = (bytes: Buffer): RecordKey => ({
  key: bytes.subarray(0, keyBytes),
  nonce: bytes.subarray(keyBytes, recordKeyBytes),
});

export class GcmCipher implements RecordCipher {
  readonly tagBytes = tagBytes;
  readonly #context = makeContext();
  readonly #isSealing: boolean;
  readonly #isHiding: boolean;
  readonly #nonce: Buffer;
  readonly #length = Buffer.alloc(4);
  /** Where OpenSSL may put the last part, which this mode does not have. */
  readonly #nothing = Buffer.alloc(16);
  readonly #low: number;
  readonly #high: number;
  #sequence = 0;
  #closed = false;

  /** For one direction; both ends count the records. `close` frees what it takes. */
  constructor(direction: "seal" | "open", { key, nonce }: RecordKey, protection: Protection = "encrypt") {
    this.#isSealing = direction === "seal";
    this.#isHiding = protection === "encrypt";
    this.#nonce = Buffer.from(nonce);
    this.#high = nonce.readUInt32BE(nonceBytes - 8);
    this.#low = nonce.readUInt32BE(nonceBytes - 4);
    this.#check(begin(this.#context, aes128Gcm(), null, key, nonce, this.#isSealing ? 1 : 0));
  }

  seal(address: bigint, bytes: number, source: bigint): void {
    this.#pass(address, bytes, source);
    this.#check(end(this.#context, this.#nothing, this.#length));
    this.#check(control(this.#context, controls.getTag, tagBytes, address + BigInt(recordHeadBytes + bytes)));
  }

  open(address: bigint, bytes: number): boolean {
    this.#pass(address, bytes, address + BigInt(recordHeadBytes));
    this.#check(control(this.#context, controls.setTag, tagBytes, address + BigInt(recordHeadBytes + bytes)));
    return end(this.#context, this.#nothing, this.#length) === 1;
  }

  close(): void {
    if (!this.#closed) freeContext(this.#context);
    this.#closed = true;
  }

  #pass(address: bigint, bytes: number, source: bigint): void {
    if (this.#closed) throw new Error("the connection's keys are gone");
    const sequence = this.#sequence++;
    this.#nonce.writeUInt32BE((this.#high ^ Math.floor(sequence / 2 ** 32)) >>> 0, nonceBytes - 8);
    this.#nonce.writeUInt32BE((this.#low ^ sequence) >>> 0, nonceBytes - 4);
    this.#check(begin(this.#context, null, null, null, this.#nonce, keepDirection));
    const target = address + BigInt(recordHeadBytes);
    if (!this.#isHiding) {
      if (this.#isSealing) copy(target, source, bytes);
      this.#check(update(this.#context, null, this.#length, address, recordHeadBytes + bytes));
      return;
    }
    this.#check(update(this.#context, null, this.#length, address, recordHeadBytes));
    this.#check(update(this.#context, target, this.#length, source, bytes));
  }

  #check(result: number): void {
    if (result !== 1) throw new Error("OpenSSL refused to cipher a record");
  }
}
