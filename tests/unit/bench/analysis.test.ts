import { describe, expect, it } from "vitest";
import { latencies, longestGap, recoveredAfterMs, type Samples } from "../../helpers/bench/probe/analysis.ts";

/** Probes from `fromMs` to `toMs`, one a millisecond, each answered after `latencyMs`. */
const steady = (fromMs: number, toMs: number, latencyMs: number): [number, number][] =>
  Array.from({ length: toMs - fromMs }, (_, at) => [fromMs + at, fromMs + at + latencyMs]);

const samplesOf = (...pairs: [number, number][][]): Samples => ({
  sent: Float64Array.from(pairs.flat(), ([sent]) => sent),
  answered: Float64Array.from(pairs.flat(), ([, answered]) => answered),
});

describe("the client's view", () => {
  const samples = samplesOf(
    steady(0, 1000, 0.2),
    [[1000, 1400]], // the freeze
    steady(1400, 1900, 5),
    steady(1900, 3000, 0.3),
  );

  it("finds the longest time without an answer", () => {
    const gap = longestGap(samples, 500);
    expect(gap.startMs).toBeCloseTo(999.2);
    expect(gap.ms).toBeCloseTo(400.8);
  });

  it("leaves out gaps that were over before the request", () => {
    expect(longestGap(samples, 2000).ms).toBeCloseTo(1);
  });

  it("takes latencies by the time of sending", () => {
    expect(latencies(samples, 0, 1000)).toHaveLength(1000);
    expect(Math.max(...latencies(samples, 1400, 1900))).toBeCloseTo(5);
  });

  it("says when the latency is back", () => {
    // Windows of 250 ms from 999.2 on: the first without a slow probe begins at 1999.2.
    expect(recoveredAfterMs(samples, { requestMs: 900, downFromMs: 999.2 })).toBeCloseTo(1000);
  });

  it("does not say so while it is not", () => {
    const slow = samplesOf(steady(0, 1000, 0.2), [[1000, 1400]], steady(1400, 3000, 5));
    expect(recoveredAfterMs(slow, { requestMs: 900, downFromMs: 999.2 })).toBeUndefined();
  });

  it("fails without anything to compare with", () => {
    expect(() => recoveredAfterMs(samples, { requestMs: 10, downFromMs: 999 })).toThrow("too few probes");
    expect(() => longestGap(samplesOf([]), 0)).toThrow("no answer");
  });
});
