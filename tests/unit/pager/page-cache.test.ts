import fc from "fast-check";
import { expect, test } from "vitest";
import { PageCache } from "../../../services/pager/core/page-cache.ts";
import { pageBytes, pageContents, runAt } from "../../helpers/model-memory.ts";

const bytesOf = (parts: { pages: number; data: Buffer | null }[]): Buffer =>
  Buffer.concat(parts.map(({ pages, data }) => data ?? Buffer.alloc(pages * pageBytes)));

test("gives each page once, with its contents, in any order of putting and taking", () => {
  const operation = fc.record({
    put: fc.boolean(),
    pid: fc.integer({ min: 1, max: 2 }),
    page: fc.integer({ min: 0, max: 40 }),
    pages: fc.integer({ min: 1, max: 12 }),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const cache = new PageCache();
      const model = new Set<string>();
      for (const { put, pid, page, pages } of operations) {
        if (put) {
          const run = runAt(pid, page, pages);
          cache.put(pid, page, run);
          for (let at = page; at < page + run.pages; at += 1) model.add(`${pid}/${at}`);
        } else {
          const wanted: Buffer[] = [];
          for (let at = page; at < page + pages && model.delete(`${pid}/${at}`); at += 1)
            wanted.push(pageContents(pid, at));
          expect(bytesOf(cache.take(pid, page, pages)).equals(Buffer.concat(wanted))).toBe(true);
        }
        for (let at = 0; at < 55; at += 1) {
          expect(cache.has(pid, at)).toBe(model.has(`${pid}/${at}`));
          let next = at;
          while (next < 60 && !model.has(`${pid}/${next}`)) next += 1;
          expect(cache.nextPage(pid, at)).toBe(next === 60 ? Infinity : next);
        }
      }
      cache.evictTo(0);
      expect(cache.bytes).toBe(0);
      expect(cache.nextPage(1, 0)).toBe(Infinity);
    }),
  );
});

test("drops the oldest runs first", () => {
  const cache = new PageCache();
  const data = Buffer.alloc(2 * pageBytes, 1);
  for (const page of [30, 10, 20]) cache.put(1, page, { pages: 2, data });
  expect(cache.bytes).toBe(6 * pageBytes);
  cache.evictTo(4 * pageBytes);
  expect([10, 20, 30].map((page) => cache.has(1, page))).toEqual([true, true, false]);
});
