import { expect, test } from "vitest";
import { Attempts } from "../../../services/pager/page-daemon/attempts.ts";

const fail = (): never => {
  throw new Error("no");
};

test("what goes on failing is told once, and tried ever less often, but within a second", () => {
  const told: unknown[] = [];
  const attempts = new Attempts((error) => told.push(error));
  const pauses: number[] = [];
  while (!attempts.failed) {
    expect(told).toEqual([]);
    pauses.push(attempts.pauseMs);
    expect(attempts.make(fail)).toBe(false);
  }
  expect(pauses.slice(0, 4)).toEqual([1, 2, 4, 8]);
  attempts.make(fail);
  expect(told).toEqual([new Error("no")]);
  expect(attempts.pauseMs).toBe(1_000);
  expect(pauses.length).toBeGreaterThan(3);
});

test("what fails now and then is not given up", () => {
  const attempts = new Attempts(fail);
  for (let n = 0; n < 100; n++) {
    attempts.make(fail);
    attempts.make(() => undefined);
  }
  expect(attempts.failed).toBe(false);
  expect(attempts.pauseMs).toBe(1);
});

test("what succeeds is done once", () => {
  const attempts = new Attempts(fail);
  let times = 0;
  expect(attempts.make(() => (times += 1))).toBe(true);
  expect([times, attempts.failed]).toEqual([1, false]);
});
