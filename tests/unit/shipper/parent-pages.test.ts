import fc from "fast-check";
import { expect, test } from "vitest";
import { splitPagemap } from "../../../services/shipper/core/parent-pages.ts";

const range = (page: number, pages: number) => ({ page, pages });
const entry = (page: number, pages: number) => ({ page, pages, lazy: false });
const inParent = (page: number, pages: number) => ({ ...entry(page, pages), inParent: true });

test("pages that are there are the parent's, the others stand one after the other", () => {
  expect(splitPagemap([entry(0, 4), entry(10, 2)], [range(1, 2), range(10, 1)])).toEqual({
    entries: [entry(0, 1), inParent(1, 2), entry(3, 1), inParent(10, 1), entry(11, 1)],
    own: [
      { imagePage: 0, pages: 1 },
      { imagePage: 3, pages: 1 },
      { imagePage: 5, pages: 1 },
    ],
  });
});

test("what is there and not dumped any more is left out", () => {
  expect(splitPagemap([entry(4, 2)], [range(0, 5), range(8, 2)])).toEqual({
    entries: [inParent(4, 1), entry(5, 1)],
    own: [{ imagePage: 1, pages: 1 }],
  });
});

test("each dumped page is in one place: where it was, or in the parent if that has it", () => {
  const runs = (numbers: Set<number>) => {
    const found: { page: number; pages: number }[] = [];
    for (const page of [...numbers].sort((a, b) => a - b)) {
      const last = found.at(-1);
      if (last !== undefined && last.page + last.pages === page) last.pages++;
      else found.push({ page, pages: 1 });
    }
    return found;
  };
  const pages = fc.uniqueArray(fc.nat(40)).map((numbers) => new Set(numbers));
  fc.assert(
    fc.property(pages, pages, (dumped, there) => {
      const { entries, own } = splitPagemap(
        runs(dumped).map((run) => ({ ...run, lazy: false })),
        runs(there),
      );
      const each = entries.flatMap(({ page, pages: count, inParent: isInParent = false }) =>
        Array.from({ length: count }, (_, at) => ({ page: page + at, isInParent })),
      );
      const order = [...dumped].sort((a, b) => a - b);
      expect(each).toEqual(order.map((page) => ({ page, isInParent: there.has(page) })));
      const sent = own.flatMap(({ imagePage, pages: count }) =>
        Array.from({ length: count }, (_, at) => imagePage + at),
      );
      expect(sent.map((at) => order[at])).toEqual(order.filter((page) => !there.has(page)));
    }),
  );
});
