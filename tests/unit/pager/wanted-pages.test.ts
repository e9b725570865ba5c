import { expect, test } from "vitest";
import { WantedPages } from "../../../services/pager/core/wanted-pages.ts";

test("gives each page once, in runs of a bounded size", () => {
  const wanted = new WantedPages([
    { page: 10, pages: 5 },
    { page: 20, pages: 1 },
  ]);
  expect(wanted.takeWithin(12, 100, 2)).toEqual([
    { page: 12, pages: 2 },
    { page: 14, pages: 1 },
    { page: 20, pages: 1 },
  ]);
  expect(wanted.takeNext(64)).toEqual({ page: 10, pages: 2 });
  expect(wanted.takeNext(64)).toBeUndefined();
  expect(wanted.empty).toBe(true);
});

test("gives again what came short, and not what nobody needs", () => {
  const wanted = new WantedPages([{ page: 0, pages: 8 }]);
  expect(wanted.takeNext(8)).toEqual({ page: 0, pages: 8 });
  wanted.add(4, 4);
  wanted.delete(5, 1);
  expect([wanted.takeNext(8), wanted.takeNext(8), wanted.takeNext(8)]).toEqual([
    { page: 4, pages: 1 },
    { page: 6, pages: 2 },
    undefined,
  ]);
});
