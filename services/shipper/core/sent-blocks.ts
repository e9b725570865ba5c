/**
 * Which blocks of files a pass has sent, and where: one that comes again travels as a word about where the first one is.
 *
 * Blocks are told apart by a fingerprint of a few of their bytes, which costs next to nothing and proves nothing: two
 * blocks of one fingerprint must be compared.
 */
import { maxOriginPathBytes, maxOrigins } from "../../shared/core/frames/job-message.ts";

/** A file that others may be copied from. */
export interface SentFile {
  /** By which the destination knows it. */
  number: number;
  /** Which of the pass's trees it is in, counted from 0. */
  tree: number;
  /** From that tree's root. */
  path: Buffer;
  /** As in TreeEntry, when it was sent. */
  identity: string;
  signature: string;
}

export interface SentBlock {
  file: SentFile;
  from: number;
}

/** Some 15 MB of memory, for 32 GiB of files. */
const maxBlocks = 128 * 1024;
/** Comparisons in vain, beyond those that were not: so many are put up with. */
const maxMisses = 256;

export class SentBlocks {
  readonly #blocks = new Map<number, SentBlock>();
  #files = 0;
  #pathBytes = 0;
  #misses = 0;

  /** Takes up a file that is about to be sent; undefined when there are too many. */
  add(file: Omit<SentFile, "number">): SentFile | undefined {
    const { length } = file.path;
    if (this.#files >= maxOrigins || this.#pathBytes + length > maxOriginPathBytes || this.#blocks.size >= maxBlocks)
      return undefined;
    this.#pathBytes += length;
    return { ...file, number: this.#files++ };
  }

  /** A block that may be the same. */
  find(fingerprint: number): SentBlock | undefined {
    return this.#misses > maxMisses ? undefined : this.#blocks.get(fingerprint);
  }

  /** Notes a block that is sent, unless there was one of this fingerprint before. */
  note(fingerprint: number, block: SentBlock): void {
    if (this.#blocks.size < maxBlocks && !this.#blocks.has(fingerprint)) this.#blocks.set(fingerprint, block);
  }

  /** What `find` gave was the same, or was not. */
  compared(same: boolean): void {
    this.#misses = same ? Math.max(0, this.#misses - 1) : this.#misses + 1;
  }

  /** None of what was sent so far is relied on any more. */
  forget(): void {
    this.#blocks.clear();
  }
}

const samples = 32;

/** Where a fingerprint looks: drawn once, so that nobody can lay out files with it in mind. Each below 1. */
export const drawSamples = (random: () => number): readonly number[] =>
  Array.from({ length: samples }, (_, index) => (index + random()) / samples);

/** Of a block of at least 4 bytes. */
export function fingerprintOf(block: Buffer, places: readonly number[]): number {
  let low = block.length;
  let high = 0x9e3779b9;
  const room = block.length - 4;
  for (const place of places) {
    const word = block.readUInt32LE(Math.floor(place * room));
    low = Math.imul(low ^ word, 0x85ebca6b);
    low ^= low >>> 15;
    high = Math.imul(high + word, 0xc2b2ae35) ^ low;
    high ^= high >>> 13;
  }
  // 53 bits.
  return (low >>> 0) * 2 ** 21 + (high >>> 11);
}
