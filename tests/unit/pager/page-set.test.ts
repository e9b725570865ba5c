import fc from "fast-check";
import { expect, test } from "vitest";
import { PageSet } from "../../../services/pager/core/page-set.ts";

test("behaves as a set of numbers, in as few runs as there can be", () => {
  const operation = fc.record({
    add: fc.boolean(),
    start: fc.integer({ min: 0, max: 60 }),
    pages: fc.integer({ min: 0, max: 12 }),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const set = new PageSet();
      const model = new Set<number>();
      for (const { add, start, pages } of operations) {
        if (add) set.add(start, pages);
        else set.delete(start, pages);
        for (let page = start; page < start + pages; page += 1) {
          if (add) model.add(page);
          else model.delete(page);
        }
      }
      let runs = 0;
      for (let page = 0; page < 80; page += 1) {
        expect(set.has(page)).toBe(model.has(page));
        if (model.has(page) && !model.has(page - 1)) runs += 1;
        let start = page;
        while (start < 80 && !model.has(start)) start += 1;
        let end = start;
        while (model.has(end)) end += 1;
        expect(set.nextRun(page)).toEqual(start === 80 ? undefined : { start, end });
      }
      expect(set.runs).toBe(runs);
    }),
  );
});
