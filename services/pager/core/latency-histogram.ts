/** Latencies in buckets that grow by a twentieth: bounded memory, percentiles within 5 %, the maximum exact. */
const growth = 1.05;
const smallestMs = 0.001;
/** 1 µs to 100 s. */
const bucketCount = Math.ceil(Math.log(100_000 / smallestMs) / Math.log(growth)) + 1;

export interface LatencySummary {
  p50: number;
  p99: number;
  max: number;
}

export class LatencyHistogram {
  readonly #buckets = new Uint32Array(bucketCount);
  #count = 0;
  #maxMs = 0;

  get count(): number {
    return this.#count;
  }

  record(ms: number): void {
    const index = Math.ceil(Math.log(Math.max(ms, smallestMs) / smallestMs) / Math.log(growth));
    const at = Math.min(index, bucketCount - 1);
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
    this.#count += 1;
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** Milliseconds; zeros when nothing was recorded. */
  summary(): LatencySummary {
    return { p50: this.#percentile(0.5), p99: this.#percentile(0.99), max: this.#maxMs };
  }

  #percentile(share: number): number {
    const rank = Math.ceil(this.#count * share);
    let seen = 0;
    for (const [index, count] of this.#buckets.entries()) {
      seen += count;
      // A bucket's upper bound may exceed what was recorded.
      if (count > 0 && seen >= rank) return Math.min(smallestMs * growth ** index, this.#maxMs);
    }
    return 0;
  }
}
