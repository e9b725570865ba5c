/**
 * A hash of a page or of a part of a file, by which the source knows again what it has sent while the container ran:
 * AES-GMAC (NIST SP 800-38D) under a key of its own. Two pages that differ have the same hash with a chance of one in
 * 2^120 (two blocks of 256 KB, one in 2^114), whoever wrote them, since neither key nor hashes ever leave the process; so
 * it does not matter that the nonce is always the same.
 *
 * Through OpenSSL's functions (aes-gcm.ts) a page takes a quarter of the time of a weaker hash in JavaScript.
 */
import { randomBytes } from "node:crypto";
import koffi from "koffi";
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
} from "../../shared/adapters/aes-gcm.ts";
import { pageBytes } from "../../shared/core/frames/page-message.ts";
import type { PageHasher } from "../core/page-hashes.ts";

export class GmacHasher implements PageHasher {
  readonly hash = new Uint32Array(tagBytes / Uint32Array.BYTES_PER_ELEMENT);
  readonly #context = makeContext();
  readonly #nonce = Buffer.alloc(nonceBytes);
  readonly #length = Buffer.alloc(4);
  /** Where OpenSSL may put what this mode does not have. */
  readonly #nothing = Buffer.alloc(16);
  readonly #nonceAt = koffi.address(this.#nonce);
  readonly #lengthAt = koffi.address(this.#length);
  readonly #nothingAt = koffi.address(this.#nothing);
  readonly #hashAt = koffi.address(Buffer.from(this.hash.buffer));
  #closed = false;

  constructor(key: Buffer = randomBytes(keyBytes)) {
    check(begin(this.#context, aes128Gcm(), null, key, this.#nonce, 1));
  }

  /** Hashes `length` bytes from `offset` on. Throws once it is closed. */
  take(bytes: Buffer, offset: number, length = pageBytes): void {
    if (this.#closed) throw new Error("the hasher was closed");
    check(begin(this.#context, null, null, null, this.#nonceAt, keepDirection));
    check(update(this.#context, null, this.#lengthAt, koffi.address(bytes) + BigInt(offset), length));
    check(end(this.#context, this.#nothingAt, this.#lengthAt));
    check(control(this.#context, controls.getTag, tagBytes, this.#hashAt));
  }

  close(): void {
    if (!this.#closed) freeContext(this.#context);
    this.#closed = true;
  }
}

function check(result: number): void {
  if (result !== 1) throw new Error("OpenSSL refused to hash");
}
