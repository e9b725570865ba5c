/** What a client's probes say about a migration. Pure: times in ms on one clock, one entry per answered probe, in order. */
import { quantileOf } from "../statistics.ts";

export interface Samples {
  readonly sent: Float64Array;
  readonly answered: Float64Array;
}

export interface Gap {
  readonly startMs: number;
  readonly ms: number;
}

/** Samples of fewer probes than this say nothing about a 99th percentile. */
const fewest = 50;

/** The longest time between two answers that ended after `fromMs`. Throws when there are not two. */
export function longestGap({ answered }: Samples, fromMs: number): Gap {
  let longest: Gap | undefined;
  for (let at = 1; at < answered.length; at++) {
    const [before = 0, after = 0] = [answered[at - 1], answered[at]];
    if (after >= fromMs && (longest === undefined || after - before > longest.ms))
      longest = { startMs: before, ms: after - before };
  }
  if (longest === undefined) throw new Error("the client got no answer");
  return longest;
}

/** Latencies of the probes sent from `fromMs` on and before `untilMs`. */
export function latencies({ sent, answered }: Samples, fromMs: number, untilMs: number): Float64Array {
  const chosen: number[] = [];
  for (let at = 0; at < sent.length; at++) {
    const begin = sent[at] ?? 0;
    if (begin >= fromMs && begin < untilMs) chosen.push((answered[at] ?? 0) - begin);
  }
  return Float64Array.from(chosen);
}

export interface RecoveryOptions {
  /** When the migration was asked for: what comes before is how it ought to be. */
  readonly requestMs: number;
  readonly downFromMs: number;
  readonly windowMs?: number;
}

/**
 * How long after the downtime's begin the 99th percentile of the latency is within twice of what it was before the request: the
 * begin of the first of two windows in a row for which that holds. Undefined while it does not.
 */
export function recoveredAfterMs(samples: Samples, options: RecoveryOptions): number | undefined {
  const { requestMs, downFromMs, windowMs = 250 } = options;
  const before = latencies(samples, -Infinity, requestMs);
  if (before.length < fewest) throw new Error("too few probes before the request");
  const limit = 2 * quantileOf(before, 0.99);
  const last = samples.answered.at(-1) ?? 0;
  let good = 0;
  for (let from = downFromMs; from + windowMs <= last; from += windowMs) {
    const within = latencies(samples, from, from + windowMs);
    good = within.length >= fewest && quantileOf(within, 0.99) <= limit ? good + 1 : 0;
    if (good === 2) return from - windowMs - downFromMs;
  }
  return undefined;
}
