import { describe, expect, test } from "vitest";
import { FaultPace } from "../../../services/pager/core/fault-pace.ts";

/** Rounds of a program that faults again `gapMs` after each answer; when they were answered. */
function rounds(count: number, gapMs: number, isShort: boolean): number[] {
  const pace = new FaultPace();
  const answered: number[] = [];
  let now = 0;
  for (let round = 0; round < count; round++) {
    answered.push(now);
    now += pace.pauseMs(now, isShort) + gapMs;
  }
  return answered;
}

const mean = (times: readonly number[]): number => (times.at(-1) ?? 0) / (times.length - 1);

describe("the pace of faults", () => {
  test("nothing waits where processors are not short", () => {
    expect(mean(rounds(100, 0.2, false))).toBeCloseTo(0.2);
  });

  test("a program that does nothing but fault is slowed down to the pace", () => {
    expect(mean(rounds(100, 0.2, true))).toBeCloseTo(0.65);
    expect(mean(rounds(100, 0.5, true))).toBeCloseTo(0.65);
  });

  test("one that faults less often is not", () => {
    expect(mean(rounds(100, 0.8, true))).toBeCloseTo(0.8);
  });

  test("the first fault after a while waits for nothing, whatever was before", () => {
    const pace = new FaultPace();
    expect(pace.pauseMs(0, true)).toBe(0);
    expect(pace.pauseMs(0.1, true)).toBeGreaterThan(0);
    expect(pace.pauseMs(50, true)).toBe(0);
  });
});
