import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { known, ratio } from "../../helpers/bench/ratios.ts";
import { medianOf, quantileOf, summarise } from "../../helpers/bench/statistics.ts";

const values = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 }), { minLength: 1 });

describe("statistics", () => {
  it("takes the middle, or the mean of the two in the middle", () => {
    expect(medianOf([3, 1, 2])).toBe(2);
    expect(medianOf([4, 1, 2, 3])).toBe(2.5);
    expect(summarise([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
  });

  it("takes quantiles by nearest rank", () => {
    const hundred = Array.from({ length: 100 }, (_, at) => at + 1);
    expect(quantileOf(hundred, 0.99)).toBe(99);
    expect(quantileOf(hundred, 1)).toBe(100);
    expect(quantileOf([7], 0.5)).toBe(7);
  });

  it("stays within the values, whatever their order", () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, quantile) => {
        const value = quantileOf(list, quantile);
        expect(list).toContain(value);
        expect(quantileOf(list.toReversed(), quantile)).toBe(value);
        expect(medianOf(list)).toBeGreaterThanOrEqual(Math.min(...list));
        expect(medianOf(list)).toBeLessThanOrEqual(Math.max(...list));
      }),
    );
  });

  it("makes up no value where there is none", () => {
    expect(() => medianOf([])).toThrow("no values");
    expect(() => quantileOf([], 0.5)).toThrow("no values");
    expect(ratio([], [1])).toBeUndefined();
    expect(ratio([1], [])).toBeUndefined();
    expect(known({ there: ratio([1, 3], [4]), not: undefined })).toEqual({ there: 0.5 });
  });
});
