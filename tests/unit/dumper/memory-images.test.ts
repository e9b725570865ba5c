import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { eagerPages, mergeRuns, planMapping, type DumpedRun } from "../../../services/dumper/core/memory-images.ts";
import { decodePagemap, encodePagemap, type PagemapEntry } from "../../../services/shared/core/criu/process-images.ts";

/** Ascending, disjoint runs below page 200. */
const entries = fc
  .array(fc.record({ gap: fc.nat(5), pages: fc.integer({ min: 1, max: 6 }), lazy: fc.boolean() }), { maxLength: 20 })
  .map((items): PagemapEntry[] => {
    let page = 16;
    return items.map(({ gap, pages, lazy }) => {
      const entry = { page: page + gap, pages, lazy };
      page = entry.page + pages;
      return entry;
    });
  });

const pagesOf = (runs: readonly PagemapEntry[]): number[] =>
  runs.flatMap(({ page, pages }) => Array.from({ length: pages }, (_, at) => page + at));

describe("merging our pages with CRIU's", () => {
  it("has each page of both once, in order, ours first, and CRIU's bytes at their place in its image", () => {
    fc.assert(
      fc.property(entries, entries, (mine, crius) => {
        const ours = mine.map((entry): DumpedRun => ({ ...entry, from: "process" }));
        const merged = mergeRuns(ours, crius);
        const all = pagesOf(merged);
        expect(all).toEqual([...new Set([...pagesOf(ours), ...pagesOf(crius)])].sort((a, b) => a - b));
        const own = new Set(pagesOf(ours));
        const inImage = pagesOf(crius.filter(({ lazy }) => !lazy));
        for (const { page, pages, from } of merged) {
          for (let at = 0; at < pages; at++) {
            if (from !== "process") {
              expect(own.has(page + at)).toBe(false);
              expect(inImage[from.imagePage + at]).toBe(page + at);
            }
          }
        }
        expect(merged.filter(({ from }) => from === "process").map(({ page }) => page)).toEqual(
          expect.arrayContaining(ours.map(({ page }) => page)),
        );
      }),
    );
  });

  it("survives the way through a pagemap image", () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 1, max: 1000 }), (all, pagesId) => {
        expect(decodePagemap(encodePagemap({ pagesId, entries: all }))).toEqual({ pagesId, entries: all });
      }),
    );
  });

  it("keeps addresses near the end of the address space exact", () => {
    const entry = { page: 0x7fff_ffff_e, pages: 1, lazy: true };
    expect(decodePagemap(encodePagemap({ pagesId: 1, entries: [entry] })).entries).toEqual([entry]);
  });
});

describe("what is dumped at once", () => {
  const mapping = { page: 100, end: 400, lazy: true };

  it("is a small mapping, as long as there is room", () => {
    const small = [{ page: 100, pages: 10 }];
    expect(planMapping(mapping, small, eagerPages)).toEqual({
      runs: [{ page: 100, pages: 10, lazy: false, from: "process" }],
      eagerLeft: eagerPages - 10,
    });
    expect(planMapping(mapping, small, 9).runs[0]?.lazy).toBe(true);
  });

  it("is not a large one, and always one that cannot wait", () => {
    const large = [{ page: 100, pages: 300 }];
    expect(planMapping(mapping, large, eagerPages)).toMatchObject({ runs: [{ lazy: true }], eagerLeft: eagerPages });
    expect(planMapping({ ...mapping, lazy: false }, large, 0)).toMatchObject({ runs: [{ lazy: false }], eagerLeft: 0 });
  });
});
