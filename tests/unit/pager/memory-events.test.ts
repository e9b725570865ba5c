import { expect, test } from "vitest";
import { asTheyHappened, wasBefore, type MemoryChange } from "../../../services/pager/core/memory-events.ts";

const moved = (from: number, to: number, pages: number): MemoryChange => ({ kind: "move", from, to, pages });
const unmapped = (page: number, pages: number): MemoryChange => ({ kind: "unmap", page, pages });
const removed = (page: number, pages: number): MemoryChange => ({ kind: "remove", page, pages });
/** Mapped are these ranges: first, past the last. */
const mapped =
  (...ranges: [number, number][]) =>
  (page: number): boolean =>
    ranges.some(([from, to]) => from <= page && page < to);

test("a place that was left and taken again, told the other way round", () => {
  const [taken, left] = [moved(100, 210, 20), unmapped(200, 50)];
  expect(asTheyHappened([taken, left], mapped([210, 230]))).toEqual([left, taken]);
  const away = moved(205, 900, 10);
  expect(asTheyHappened([taken, away], mapped([210, 230], [900, 910]))).toEqual([away, taken]);
});

test("a place that was taken and left again stays so", () => {
  for (const left of [unmapped(200, 50), moved(210, 900, 20)]) {
    const told = [moved(100, 210, 20), left];
    expect(asTheyHappened(told, mapped([900, 920]))).toEqual(told);
  }
});

test("pages given up, and places that have nothing to do with each other, stay in their order", () => {
  const told = [moved(100, 200, 20), removed(205, 2), unmapped(300, 5), moved(50, 400, 5), unmapped(220, 4)];
  expect(asTheyHappened(told, () => true)).toEqual(told);
});

test("a chain of places is put in order by its ends", () => {
  // One thread left 300; the next moved 200 there; the last moved 100 to where that had been. Told backwards.
  const chain = [unmapped(300, 10), moved(200, 300, 10), moved(100, 200, 10)];
  expect(asTheyHappened([...chain].reverse(), mapped([200, 210], [300, 310]))).toEqual(chain);
});

test("a fork was after the changes that the child shows", () => {
  const child = mapped([100, 110]);
  expect(wasBefore(moved(100, 200, 10), child)).toBe(false);
  expect(wasBefore(unmapped(300, 10), child)).toBe(true);
  expect(wasBefore(removed(100, 1), child)).toBeUndefined();
});
