import fc from "fast-check";
import { expect, test } from "vitest";
import { chunksOf, PageSet, type Run } from "../../../services/pager/core/page-set.ts";

/** Numbers around borders: of words, of chunks, and of what 32 bits hold. */
const bases = [0, 4096 - 30, 3 * 4096 - 70, 2 ** 32 - 40, 2 ** 35];
const spanPages = 150;

const runsOf = (model: ReadonlySet<number>, from: number, end: number): Run[] => {
  const pages = [...model].filter((page) => page >= from && page < end).sort((a, b) => a - b);
  const runs: Run[] = [];
  for (const page of pages) {
    const last = runs.at(-1);
    if (last?.end === page) last.end++;
    else runs.push({ start: page, end: page + 1 });
  }
  return runs;
};

const operation = fc.record({
  add: fc.boolean(),
  base: fc.constantFrom(...bases),
  offset: fc.integer({ min: 0, max: 80 }),
  pages: fc.integer({ min: 0, max: 66 }),
});

test("behaves as a set of numbers, in as few runs as there can be", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const set = new PageSet();
      const model = new Set<number>();
      for (const { add, base, offset, pages } of operations) {
        const start = base + offset;
        if (add) set.add(start, pages);
        else set.delete(start, pages);
        for (let page = start; page < start + pages; page++) {
          if (add) model.add(page);
          else model.delete(page);
        }
      }
      expect(set.size).toBe(model.size);
      expect(set.all()).toEqual(runsOf(model, 0, Infinity));
      for (const base of bases)
        for (let page = base; page < base + spanPages; page += 7) {
          expect(set.has(page)).toBe(model.has(page));
          const [next] = runsOf(model, page, Infinity);
          expect(set.nextRun(page)).toEqual(next);
          expect(set.nextRun(page, 5)).toEqual(next && { ...next, end: Math.min(next.end, next.start + 5) });
          expect(set.within(page, 50)).toEqual(runsOf(model, page, page + 50));
        }
    }),
  );
});

test("long runs go over many chunks, and a deletion without end takes the rest", () => {
  const set = new PageSet();
  set.add(100, 20_000);
  expect(set.all()).toEqual([{ start: 100, end: 20_100 }]);
  expect(set.nextRun(5_000)).toEqual({ start: 5_000, end: 20_100 });
  set.delete(8_192, 4_096);
  expect(set.all()).toEqual([
    { start: 100, end: 8_192 },
    { start: 12_288, end: 20_100 },
  ]);
  set.delete(200, Infinity);
  expect(set.all()).toEqual([{ start: 100, end: 200 }]);
  expect(set.size).toBe(100);
  set.delete(0, Infinity);
  expect(set.size).toBe(0);
  expect(set.nextRun(0)).toBeUndefined();
});

test("says what runs take before they are added", () => {
  const runs = [
    { page: 0, pages: 1 },
    { page: 4090, pages: 7 },
    { page: 5000, pages: 1 },
    { page: 2 ** 32 - 1, pages: 4098 },
  ];
  expect(chunksOf(runs)).toBe(5);
  expect(chunksOf([{ page: 1, pages: 4096 }, ...runs])).toBe(7);
});
