/**
 * Which pages of a connection are equal to one that was sent over it before. A sample of a page tells what it may be
 * equal to; it is, only if every byte is. A page is kept, here and at the destination, when its sample is met for the
 * second time: most are never met again.
 *
 * Looking costs little, and less where it is in vain: after `patiencePages` without an equal page, it is looked at every
 * eighth answer only, until one is met again.
 */
import { KeptPages, keptPlaces } from "../../shared/core/frames/kept-pages.ts";
import type { PageMark } from "../../shared/core/frames/page-marks.ts";
import type { PageRepeats } from "../../shared/core/frames/page-message.ts";

/** Samples that are remembered: those of the last 128 MiB or so. */
const bucketBits = 15;
const patiencePages = 4096;
const barrenTurns = 8;
/** A kept page whose sample was met so often with other contents, and not once with its own, gives way. */
const mostMisses = 8;
const nowhere = 0xffff_ffff;

export class RepeatedPages implements PageRepeats {
  readonly #kept = new KeptPages();
  /** By the sample's upper bits; 0 for none. */
  readonly #samples = new Uint32Array(1 << bucketBits);
  /** Where the page with that sample is kept, plus 1. */
  readonly #places = new Uint16Array(1 << bucketBits);
  readonly #bucketOf = new Uint32Array(keptPlaces).fill(nowhere);
  /** Was met again since the hand passed. */
  readonly #isUsed = new Uint8Array(keptPlaces);
  readonly #misses = new Uint8Array(keptPlaces);
  /** The place that is given away next, unless it is used. */
  #hand = 0;
  #words: Uint32Array = new Uint32Array(0);
  #pagesInVain = 0;
  #turn = 0;

  begin(buffer: Buffer, pages: number): boolean {
    if (this.#pagesInVain >= patiencePages) {
      this.#turn = (this.#turn + 1) % barrenTurns;
      if (this.#turn !== 0) return false;
    } else this.#pagesInVain += pages;
    this.#words = new Uint32Array(buffer.buffer, buffer.byteOffset, Math.floor(buffer.length / 4));
    return true;
  }

  look(buffer: Buffer, offset: number): PageMark | undefined {
    const sample = sampleOf(this.#words, offset / 4);
    const bucket = sample >>> (32 - bucketBits);
    if (this.#samples[bucket] !== sample) {
      this.#note(bucket, sample);
      return undefined;
    }
    const place = (this.#places[bucket] ?? 0) - 1;
    if (place < 0) return this.#keep(bucket, this.#freePlace(), buffer, offset);
    if (this.#kept.isEqual(place, buffer, offset)) {
      this.#pagesInVain = 0;
      this.#isUsed[place] = 1;
      this.#misses[place] = 0;
      return { kind: "equal", place };
    }
    const misses = (this.#misses[place] ?? 0) + 1;
    this.#misses[place] = misses;
    return misses < mostMisses ? undefined : this.#keep(bucket, place, buffer, offset);
  }

  /** Remembers a sample instead of the one that has its bucket, unless the page of that one is of use. */
  #note(bucket: number, sample: number): void {
    const place = (this.#places[bucket] ?? 0) - 1;
    if (place >= 0) {
      if (this.#isUsed[place] === 1) {
        this.#isUsed[place] = 0;
        return;
      }
      this.#bucketOf[place] = nowhere;
      this.#places[bucket] = 0;
    }
    this.#samples[bucket] = sample;
  }

  #keep(bucket: number, place: number, buffer: Buffer, offset: number): PageMark {
    this.#kept.keep(place, buffer, offset);
    this.#places[bucket] = place + 1;
    this.#bucketOf[place] = bucket;
    this.#isUsed[place] = 0;
    this.#misses[place] = 0;
    return { kind: "keep", place };
  }

  #freePlace(): number {
    for (;;) {
      const place = this.#hand;
      this.#hand = (place + 1) % keptPlaces;
      if (this.#isUsed[place] === 1) {
        this.#isUsed[place] = 0;
        continue;
      }
      const bucket = this.#bucketOf[place] ?? nowhere;
      if (bucket !== nowhere) this.#places[bucket] = 0;
      return place;
    }
  }
}

/**
 * Eight words of a page in one, never 0: by turns the lower and the upper half of a number of 8 bytes, since of a pattern of
 * such numbers one half may be all there is. `at` counts words of 4 bytes.
 */
function sampleOf(words: Uint32Array, at: number): number {
  let sample = words[at] ?? 0;
  for (let next = at + 131; next < at + 1024; next += 131)
    sample = Math.imul(sample ^ (sample >>> 15) ^ (words[next] ?? 0), 0x9e37_79b1);
  return (sample ^ (sample >>> 15)) >>> 0 || 1;
}
