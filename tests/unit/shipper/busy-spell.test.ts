import { expect, test } from "vitest";
import { BusySpell, restMs } from "../../../services/shipper/core/busy-spell.ts";

/** Turns of so many milliseconds of work, each after a wait; answers how much of the time was rest. */
function restOf(turns: number, waitMs: number, workMs: number): number {
  const spell = new BusySpell(0);
  let [now, rested] = [0, 0];
  for (let turn = 0; turn < turns; turn++) {
    now += waitMs + workMs;
    if (!spell.waited(waitMs, now)) continue;
    rested += restMs;
    now += restMs;
  }
  return rested / now;
}

test("who finds more to do each time it looks rests now and then: a tenth of the time at least", () => {
  for (const workMs of [0.01, 0.3, 5, 80])
    expect(restOf(1_000, 0.005, workMs)).toBeGreaterThan(workMs > 10 ? 0.02 : 0.1);
});

test("who has to wait for work, however briefly, need not rest", () => {
  expect(restOf(10_000, 0.1, 0.4)).toBe(0);
  expect(restOf(100, 20, 5)).toBe(0);
});
