/**
 * Which pages of a connection are equal to one that was sent over it before. A sample of a page tells what it may be
 * equal to; it is, only if every byte is. A page is kept, here and at the destination, when its sample is met for the
 * second time: most are never met again.
 *
 * Looking costs little, and less where it is in vain: after `patiencePages` without an equal page, it is looked at every
 * eighth answer only, until one is met again; a page that is kept is a hint, and has it look at `hintPages` more. To keep a
 * page costs more: that has a budget, which equal pages fill up, and which allows for one page an answer when it is empty.
 */
import { KeptPages, keptPlaces } from "../../shared/core/frames/kept-pages.ts";
import type { PageMark } from "../../shared/core/frames/page-marks.ts";
import { pageBytes, type PageRepeats } from "../../shared/core/frames/page-message.ts";

/** Samples that are remembered: those of the last 128 MiB or so. */
const bucketBits = 15;
const patiencePages = 4096;
const hintPages = 512;
const barrenTurns = 8;
/** How many pages may be kept before one is met again, at first and at most, and what it then is worth. */
const firstBudget = 256;
const mostBudget = 1024;
const worth = 4;
/** With less, pages were kept in vain: that one more is kept says nothing. */
const hintBudget = firstBudget / 2;
/** A kept page whose sample was met so often with other contents, and not once with its own, is forgotten. */
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
  /** Another sample of each kept page: most pages that have the first one in common differ in this. */
  readonly #seconds = new Uint32Array(keptPlaces);
  /** The place that is given away next, unless it is used. */
  #hand = 0;
  #words: Uint32Array = new Uint32Array(0);
  #budget = firstBudget;
  #pagesInVain = 0;
  #turn = 0;

  begin(buffer: Buffer, pages: number): boolean {
    if (this.#pagesInVain >= patiencePages) {
      this.#turn = (this.#turn + 1) % barrenTurns;
      if (this.#turn !== 0) return false;
    } else this.#pagesInVain += pages;
    this.#budget = Math.min(this.#budget + 1, mostBudget);
    this.#words = new Uint32Array(buffer.buffer, buffer.byteOffset, Math.floor(buffer.length / 4));
    return true;
  }

  look(buffer: Buffer, offset: number): PageMark | undefined {
    const sample = sampleOf(this.#words, offset / 4, firstStep);
    const bucket = sample >>> (32 - bucketBits);
    if (this.#samples[bucket] !== sample) {
      this.#note(bucket, sample);
      return undefined;
    }
    const place = (this.#places[bucket] ?? 0) - 1;
    if (place < 0) return this.#budget > 0 ? this.#keep(bucket, this.#freePlace(), buffer, offset) : undefined;
    const isAlike = this.#seconds[place] === sampleOf(this.#words, offset / 4, secondStep);
    if (isAlike && this.#kept.isEqual(place, buffer, offset)) {
      this.#budget = Math.min(this.#budget + worth, mostBudget);
      this.#pagesInVain = 0;
      this.#isUsed[place] = 1;
      this.#misses[place] = 0;
      return { kind: "equal", place };
    }
    const misses = (this.#misses[place] ?? 0) + 1;
    this.#misses[place] = misses;
    if (misses === mostMisses) this.#forget(place);
    return undefined;
  }

  /** Remembers a sample instead of the one that has its bucket, unless the page of that one is of use. */
  #note(bucket: number, sample: number): void {
    const place = (this.#places[bucket] ?? 0) - 1;
    if (place >= 0) {
      if (this.#isUsed[place] === 1) {
        this.#isUsed[place] = 0;
        return;
      }
      this.#forget(place);
    }
    this.#samples[bucket] = sample;
  }

  #keep(bucket: number, place: number, buffer: Buffer, offset: number): PageMark {
    this.#budget--;
    if (this.#budget > hintBudget) this.#pagesInVain = Math.min(this.#pagesInVain, patiencePages - hintPages);
    this.#kept.keep(place, buffer, offset);
    this.#seconds[place] = sampleOf(this.#words, offset / 4, secondStep);
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
      this.#forget(place);
      return place;
    }
  }

  #forget(place: number): void {
    const bucket = this.#bucketOf[place] ?? nowhere;
    if (bucket !== nowhere) this.#places[bucket] = 0;
    this.#bucketOf[place] = nowhere;
  }
}

/**
 * Every so many words of 4 bytes: an odd number, so that of numbers of 8 bytes both halves are among them, of which one may be
 * all there is to tell them apart. Five words to look whether a page may be known, and ten others to be nearly sure.
 */
const firstStep = 231;
const secondStep = 113;

/** Some words of the page that begins with word `at`, in one that is never 0. */
function sampleOf(words: Uint32Array, at: number, step: number): number {
  let sample = words[at] ?? 0;
  for (let next = at + step; next < at + pageBytes / 4; next += step)
    sample = Math.imul(sample ^ (sample >>> 15) ^ (words[next] ?? 0), 0x9e37_79b1);
  return (sample ^ (sample >>> 15)) >>> 0 || 1;
}
