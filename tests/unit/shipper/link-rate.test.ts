import fc from "fast-check";
import { expect, test } from "vitest";
import { linkRate, type Acknowledged } from "../../../services/shipper/core/link-rate.ts";

test("too few samples, and samples of nothing, say nothing", () => {
  expect(linkRate([])).toBeUndefined();
  expect(linkRate([{ ms: 5, bytes: 1000 }])).toBeUndefined();
  expect(
    linkRate([
      { ms: 5, bytes: 1000 },
      { ms: 50, bytes: 1000 },
    ]),
  ).toBeUndefined();
});

test("two samples are enough", () => {
  expect(
    linkRate([
      { ms: 5, bytes: 1000 },
      { ms: 55, bytes: 51_000 },
    ]),
  ).toBe(1e6);
});

test("a token bucket's burst, and a slow start, do not count", () => {
  const sizes = fc.record({
    perMs: fc.integer({ min: 1_000, max: 1_000_000 }),
    burstMs: fc.integer({ min: 0, max: 20 }),
    slowMs: fc.integer({ min: 0, max: 20 }),
  });
  fc.assert(
    fc.property(sizes, ({ perMs, burstMs, slowMs }) => {
      const samples: Acknowledged[] = [];
      for (let ms = 1; ms <= 100; ms++) {
        const slow = Math.min(ms, slowMs) * 0.1;
        samples.push({ ms, bytes: perMs * (burstMs + slow + Math.max(0, ms - slowMs)) });
      }
      const rate = linkRate(samples) ?? 0;
      expect(Math.abs(rate / (perMs * 1000) - 1)).toBeLessThan(1e-6);
    }),
  );
});

test("what stands still for a while is not taken for a slow link", () => {
  const samples: Acknowledged[] = [];
  for (let ms = 1; ms <= 60; ms++) samples.push({ ms, bytes: ms * 1000 });
  for (let ms = 95; ms <= 100; ms++) samples.push({ ms, bytes: (60 + ms - 94) * 1000 });
  // Of the later part only 20 ms are without the stop, and a stretch is 30 ms long.
  expect(linkRate(samples)).toBeLessThan(1e6);
  for (let ms = 101; ms <= 140; ms++) samples.push({ ms, bytes: (60 + ms - 94) * 1000 });
  expect(linkRate(samples)).toBeCloseTo(1e6, 0);
});
