/**
 * A 64-bit hash of a page's contents, by which the source knows pages again that it has sent while the container ran.
 * Two chains of 32 bits go over all words of the page; each of their steps can be undone, so a change of a single word
 * always changes the hash. They begin with random numbers: what a program writes cannot be made to collide on purpose.
 */
import { randomBytes } from "node:crypto";

const wordsOfPage = 1024;

export class PageHasher {
  /** The last hash; never both 0. */
  low = 0;
  high = 0;
  readonly #seedLow: number;
  readonly #seedHigh: number;

  constructor(seed: Buffer = randomBytes(8)) {
    this.#seedLow = seed.readUInt32LE(0);
    this.#seedHigh = seed.readUInt32LE(4);
  }

  /** Hashes the page that begins at word `from`, into `low` and `high`. */
  hash(words: Uint32Array, from: number): void {
    let low = this.#seedLow;
    let high = this.#seedHigh;
    for (let at = from; at < from + wordsOfPage; at++) {
      const word = words[at] ?? 0;
      low = Math.imul(low ^ word, 0x9e3779b1);
      low ^= low >>> 15;
      high = Math.imul(high, 0x85ebca6b) + word;
      high ^= high >>> 13;
    }
    this.low = low >>> 0 || 1;
    this.high = high >>> 0;
  }
}
