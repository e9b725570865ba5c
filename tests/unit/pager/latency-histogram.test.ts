import fc from "fast-check";
import { expect, test } from "vitest";
import { LatencyHistogram } from "../../../services/pager/core/latency-histogram.ts";

test("is empty at first", () => {
  expect(new LatencyHistogram().summary()).toEqual({ p50: 0, p99: 0, max: 0 });
});

test("percentiles are within 5 % of the exact ones, the maximum is exact", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.001, max: 90_000, noNaN: true }), { minLength: 1 }), (values) => {
      const histogram = new LatencyHistogram();
      for (const value of values) histogram.record(value);
      const sorted = values.toSorted((a, b) => a - b);
      const exact = (share: number): number => sorted[Math.ceil(sorted.length * share) - 1] ?? 0;
      const { p50, p99, max } = histogram.summary();
      expect(max).toBe(sorted.at(-1));
      for (const [got, share] of [
        [p50, 0.5],
        [p99, 0.99],
      ] as const) {
        expect(got).toBeGreaterThanOrEqual(exact(share) * 0.999);
        expect(got).toBeLessThanOrEqual(exact(share) * 1.051);
      }
      expect(histogram.count).toBe(values.length);
    }),
  );
});

test("holds times beyond its buckets", () => {
  const histogram = new LatencyHistogram();
  histogram.record(1e9);
  histogram.record(0);
  expect(histogram.summary().max).toBe(1e9);
});
