/**
 * Measures what a link carries while something waits for it, for the choice whether to compress (compression-choice.ts).
 * Pure: the caller gives the time, in ms.
 */
import type { CompressionChoice } from "./compression-choice.ts";

/** The link's rate is measured over at least this long. */
const measureMs = 50;
/** The share of bytes that may have gone as they were in a time that tells what compression brings. */
const mostPlain = 0.1;

/** Bytes that have crossed the link. */
export interface Carried {
  bytes: number;
  /** Of these, those that were compressed, as they were before. */
  unpackedBytes: number;
  /** Those that were not. */
  plainBytes: number;
}

export class LinkMeter {
  readonly #choice: CompressionChoice;
  /** Since when something has waited; undefined while nothing does. */
  #since: number | undefined;
  #sum: Carried = { bytes: 0, unpackedBytes: 0, plainBytes: 0 };

  constructor(choice: CompressionChoice) {
    this.#choice = choice;
  }

  /** So much more was carried by `now`; `waiting`: more waits for the link. A time in which nothing waited says nothing about it. */
  note({ bytes, unpackedBytes, plainBytes }: Carried, waiting: boolean, now: number): void {
    const since = this.#since;
    if (since === undefined || !waiting) {
      this.#begin(waiting ? now : undefined);
      return;
    }
    const sum = this.#sum;
    sum.bytes += bytes;
    sum.unpackedBytes += unpackedBytes;
    sum.plainBytes += plainBytes;
    if (now - since < measureMs || sum.bytes === 0) return;
    const all = sum.unpackedBytes + sum.plainBytes;
    const tells = sum.plainBytes <= mostPlain * all;
    this.#choice.noteLink(sum.bytes, now - since, sum.unpackedBytes > 0, tells ? all : undefined);
    this.#begin(now);
  }

  #begin(since: number | undefined): void {
    this.#since = since;
    this.#sum = { bytes: 0, unpackedBytes: 0, plainBytes: 0 };
  }
}
