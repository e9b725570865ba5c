/**
 * Whether a frame is worth compressing, from what was measured while running: it is when the link is what everything
 * waits for, and zstd makes the data smaller faster than the link would carry it. Decided anew for each frame.
 */

export interface Compressed {
  bytesIn: number;
  bytesOut: number;
  ms: number;
}

/** How much of a new measurement goes into the average. */
const weight = 0.25;
/**
 * The same of one by which the link is slower than it was: what was slow may have been a processor at either end, and the
 * link itself seldom gets slower within seconds.
 */
const slowerWeight = 0.02;
/** It must be worth this much: compression takes CPU that others could use. */
const worthwhile = 1.25;
/** What it is found to bring is told from noise by this much. */
const certain = 1.1;
/** Every so many frames one is compressed that would not be, to see what it would bring. */
const sampleEvery = { usual: 64, outrun: 1024 };
/** What a frame must shrink to. */
const mostOfIt = 0.9;
/** So many measurements tell how fast zstd is. */
const surely = 8;
/**
 * While frames are compressed, nothing tells what the link would carry without: so after some, as many go as they are as it takes
 * to measure it anew. That is done less and less often while compression turns out right.
 */
const lookAfterFrames = { first: 64, most: 1024 };
const mostPlainFrames = 160;

/** What a small file takes of processors at both ends, with a good deal to spare: some 0.012 ms was measured. */
const smallFileMs = 0.03;
/** Bytes per millisecond: over a link that carries more, processors may be what small files wait for, whatever is measured. */
const slowLinkRate = 128_000;

export class CompressionChoice {
  readonly #wanted: boolean;
  /** Bytes per millisecond that the link carried while something waited for it. */
  #linkRate: number | undefined;
  #zstdRate: number | undefined;
  /** Frames that were compressed. */
  #measurements = 0;
  /** Size after over size before. */
  #ratio: number | undefined;
  /** Bytes per millisecond, as they were before compression, that arrived while frames were compressed. */
  #gained: number | undefined;
  #sinceSample = 0;
  #sinceGained = 0;
  #lookAfter = lookAfterFrames.first;
  #sinceLook = 0;
  /** Frames that still go as they are. */
  #plainLeft = 0;

  /** `wanted`: what the plan assumes, until there are measurements. */
  constructor(wanted: boolean) {
    this.#wanted = wanted;
  }

  /**
   * Bytes that went over the link in a time throughout which more waited; `compressed`: whether some of them were. Then zstd may have
   * been what held them up, and the link can carry no less than is known from before: else the slower zstd is, the more it would pay.
   * `plainBytes`, where nearly all of them were: what they were before.
   */
  noteLink(bytes: number, ms: number, compressed: boolean, plainBytes?: number): void {
    if (ms <= 0) return;
    const rate = bytes / ms;
    if (plainBytes !== undefined) this.#gained = average(this.#gained, plainBytes / ms);
    if (compressed && this.#linkRate !== undefined && rate < this.#linkRate) return;
    if (this.#plainLeft > 0 && !compressed) {
      // What held the link up before, such as a busy processor, may be over.
      this.#linkRate = rate;
      this.#plainLeft = 0;
      this.#lookAfter = this.#isWorthwhile()
        ? Math.min(2 * this.#lookAfter, lookAfterFrames.most)
        : lookAfterFrames.first;
      return;
    }
    const isSlower = this.#linkRate !== undefined && rate < this.#linkRate;
    this.#linkRate = average(this.#linkRate, rate, isSlower ? slowerWeight : weight);
  }

  /** The link was measured by itself, a while ago perhaps: it carries so much, bytes per millisecond. */
  noteMeasured(rate: number): void {
    this.#linkRate = rate;
  }

  /** Whether what came of a frame is to be sent: else it goes as it is, and the other side is spared the work. */
  noteCompressed({ bytesIn, bytesOut, ms }: Compressed): boolean {
    if (bytesIn === 0) return false;
    this.#measurements++;
    this.#ratio = average(this.#ratio, bytesOut / bytesIn);
    this.#zstdRate = average(this.#zstdRate, bytesIn / Math.max(ms, 0.001));
    return bytesOut <= mostOfIt * bytesIn;
  }

  /** For the next frame. `waiting`: frames are waiting for the link just now. */
  next(waiting: boolean): boolean {
    if (this.#plainLeft > 0) {
      this.#plainLeft--;
      return false;
    }
    if (this.#isWorthwhile()) {
      this.#sinceLook++;
      if (this.#linkRate === undefined || this.#sinceLook < this.#lookAfter) return true;
      this.#sinceLook = 0;
      this.#plainLeft = mostPlainFrames;
      return false;
    }
    // The link's speed is known once something has waited for it; until then nothing is to be gained.
    if (this.#linkRate === undefined || !waiting) return false;
    // Where processors are what everything waits for, compression makes it slower; that may change.
    if (this.#gained !== undefined && ++this.#sinceGained >= lookAfterFrames.most) {
      this.#gained = undefined;
      this.#sinceGained = 0;
    }
    this.#sinceSample++;
    // Where the link outruns zstd, it does so whatever the data is. One measurement may have met a busy processor.
    const isOutrun =
      this.#measurements >= surely && this.#zstdRate !== undefined && this.#zstdRate <= worthwhile * this.#linkRate;
    if (this.#ratio !== undefined && this.#sinceSample < (isOutrun ? sampleEvery.outrun : sampleEvery.usual))
      return false;
    this.#sinceSample = 0;
    return true;
  }

  /**
   * Whether the link clearly takes longer for a small file of so many bytes than idle processors do, which then have time to see
   * whether it was sent before. False until the link's speed is known.
   */
  linkHoldsUp(bytes: number): boolean {
    const [link, ratio, gained] = [this.#linkRate, this.#ratio, this.#gained];
    if (link === undefined || (gained !== undefined && gained < certain * link)) return false;
    const rate = ratio !== undefined && this.#isWorthwhile() ? link / ratio : link;
    return rate <= slowLinkRate && bytes >= smallFileMs * rate;
  }

  #isWorthwhile(): boolean {
    const [link, zstd, ratio] = [this.#linkRate, this.#zstdRate, this.#ratio];
    if (link === undefined || zstd === undefined || ratio === undefined) return this.#wanted;
    if (this.#gained !== undefined && this.#gained < certain * link) return false;
    return Math.min(zstd, link / ratio) > worthwhile * link;
  }
}

const average = (old: number | undefined, measured: number, share = weight): number =>
  old === undefined ? measured : old + share * (measured - old);
