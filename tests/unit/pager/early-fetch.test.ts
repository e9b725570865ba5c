import { expect, test } from "vitest";
import { compact, EarlyPages, type EarlyRun } from "../../../services/pager/core/early-pages.ts";
import { WantedPages } from "../../../services/pager/core/wanted-pages.ts";
import { EarlyFetch } from "../../../services/pager/page-daemon/early-fetch.ts";
import type { PageAnswer } from "../../../services/pager/page-daemon/page-lane.ts";
import { pageBytes } from "../../../services/shared/core/page-server/codec.ts";

const megabyte = 1 << 20;
const payload = Buffer.alloc(64 * pageBytes);

function run(page: number, pages: number, provisional = false): EarlyRun {
  return { pid: 1, page, pages, spans: [{ first: 0, pages, at: 4 }], payload, provisional };
}

function answer(page: number, pages: number, spans: PageAnswer["spans"]): PageAnswer {
  const request = { pid: 1, page, pages, priority: 3, known: true, speculative: false } as const;
  return { request, pages, spans, provisional: false, payload, keep: () => undefined };
}

test("a page that comes again replaces the one that is held, and no other", () => {
  const held = new EarlyPages();
  held.add(run(0, 64, true));
  held.add({ ...run(10, 2), spans: [{ first: 0, pages: 2, at: "zero" }] });
  expect([9, 10, 11, 12, 64].map((page) => held.at(1, page)?.provisional)).toEqual([
    true,
    false,
    false,
    true,
    undefined,
  ]);
  // What follows the cut stands further on in the payload.
  expect(held.at(1, 12)).toMatchObject({
    page: 12,
    pages: 52,
    spans: [{ first: 0, pages: 52, at: 4 + 12 * pageBytes }],
  });
  expect(held.bytes - 62 * pageBytes).toBeGreaterThan(0);
  expect(held.bytes - 62 * pageBytes).toBeLessThan(pageBytes);
  held.delete(1, 0, 64);
  expect([held.bytes, held.pages, held.hasConfirmed, [...held.all()].length]).toEqual([0, 0, false, 0]);
});

test("a run of few contents is kept without the rest of the memory that it came in", () => {
  const memory = Buffer.from(new SharedArrayBuffer(64 * pageBytes));
  memory.writeUInt32LE(7, 20 * pageBytes);
  memory.writeUInt32LE(9, 40 * pageBytes);
  const spans = [
    { first: 0, pages: 2, at: 20 * pageBytes },
    { first: 2, pages: 60, at: "zero" as const },
    { first: 62, pages: 2, at: 40 * pageBytes },
  ];
  const sparse = compact({ ...run(0, 64), spans, payload: memory });
  expect(sparse.payload.length).toBe(4 * pageBytes);
  expect(sparse.payload.buffer).toBeInstanceOf(SharedArrayBuffer);
  const firstWords = sparse.spans.map(({ at }) => (typeof at === "number" ? sparse.payload.readUInt32LE(at) : at));
  expect(firstWords).toEqual([7, "zero", 9]);
  const whole = { ...run(0, 64), payload: memory };
  expect(compact(whole)).toBe(whole);
});

test("pages that are announced and zero are fetched within the window too", () => {
  const early = new EarlyFetch(megabyte);
  early.announce({ pid: 1, runs: [{ page: 0, pages: 1 << 28 }] });
  let fetched = 0;
  for (let next = early.nextAnnounced(); next !== undefined && fetched < 100_000; next = early.nextAnnounced()) {
    fetched += 1;
    early.ended(next);
    early.keep(
      { ...run(next.page, next.pages, true), spans: [{ first: 0, pages: next.pages, at: "zero" }] },
      undefined,
    );
  }
  expect(fetched).toBeGreaterThan(1_000);
  expect(fetched).toBeLessThan(10_000);
});

test("what is announced takes so much memory and no more, whatever the source tells of", () => {
  const early = new EarlyFetch(megabyte);
  early.announce({ pid: 1, runs: [{ page: 0, pages: 64 }] });
  // Eight times 16 TiB, in twelve bytes each.
  for (let pid = 2; pid < 10; pid++) early.announce({ pid, runs: [{ page: 0, pages: 0xffff_ffff }] });
  expect(early.pagesAnnounced).toBe(64);
});

test("gives every confirmed run once, also those that come while it does", () => {
  const held = new EarlyPages();
  for (let block = 0; block < 4; block++) held.add(run(block * 64, 64, block % 2 === 1));
  const given = [];
  for (let next = held.nextConfirmed(); next !== undefined; next = held.nextConfirmed()) {
    given.push(next.page);
    held.delete(1, next.page, next.pages);
    // Confirmed at last: one that the walk has passed by already, perhaps.
    if (given.length === 2) held.add(run(64, 64));
  }
  expect(given.toSorted((a, b) => a - b)).toEqual([0, 64, 128]);
});

test("what is announced is fetched by blocks, within the window", () => {
  const early = new EarlyFetch(megabyte);
  early.announce({ pid: 1, runs: [{ page: 60, pages: 1000 }] });
  const fetched = [];
  for (let next = early.nextAnnounced(); next !== undefined; next = early.nextAnnounced()) fetched.push(next);
  expect(fetched.slice(0, 2)).toEqual([
    { pid: 1, page: 60, pages: 4 },
    { pid: 1, page: 64, pages: 64 },
  ]);
  const pages = fetched.reduce((sum, range) => sum + range.pages, 0);
  expect(pages).toBeGreaterThanOrEqual(megabyte / pageBytes);
  expect(pages).toBeLessThan(megabyte / pageBytes + 64);
  for (const range of fetched) early.ended(range);
  expect(early.nextAnnounced()).toBeDefined();
});

test("says how many announced pages will come still: those that there is room for", () => {
  const early = new EarlyFetch(100 * 64 * pageBytes);
  expect([early.pagesAnnounced, early.pagesAwaited]).toEqual([0, 0]);
  early.announce({ pid: 1, runs: [{ page: 0, pages: 640 }] });
  early.announce({ pid: 2, runs: [{ page: 64, pages: 128 }] });
  expect([early.pagesAnnounced, early.pagesAwaited]).toEqual([768, 768]);
  const first = early.nextAnnounced() ?? expect.fail();
  expect(early.pagesAwaited).toBe(768);
  early.keep(run(0, 64, true), undefined);
  early.ended(first);
  expect(early.pagesAwaited).toBe(704);
  for (let next = early.nextAnnounced(); next !== undefined; next = early.nextAnnounced()) early.ended(next);
  // Not all have come, and none will.
  expect([early.pagesAnnounced, early.pagesAwaited]).toEqual([768, 0]);

  const full = new EarlyFetch(2 * 64 * pageBytes);
  full.announce({ pid: 1, runs: [{ page: 0, pages: 640 }] });
  for (const page of [0, 64]) {
    const next = full.nextAnnounced() ?? expect.fail();
    expect(full.pagesAwaited).toBeGreaterThan(0);
    full.keep(run(page, 64, true), undefined);
    full.ended(next);
  }
  expect(full.nextAnnounced()).toBeUndefined();
  expect(full.pagesAwaited).toBe(0);
});

test("once the images are known, what is held is not fetched again, and provisional pages are confirmed", () => {
  const early = new EarlyFetch(megabyte);
  early.keep(run(0, 64, true), undefined);
  early.keep(run(64, 64), undefined);
  const wanted = new WantedPages([{ page: 10, pages: 150 }]);
  early.learn(new Map([[1, wanted]]));
  // Of the first block the images have pages 10 to 63 only.
  expect(early.nextUnconfirmed()).toEqual({ pid: 1, page: 10, pages: 54 });
  expect(early.nextUnconfirmed()).toBeUndefined();
  expect(wanted.takeNext(64)).toEqual({ page: 128, pages: 32 });
  expect(wanted.empty).toBe(true);
  // It comes after the images: only what they lack counts.
  early.keep(run(128, 64, true), wanted);
  expect(early.nextUnconfirmed()).toBeUndefined();
});

test("pages of a block that a thread waits for are confirmed before their turn, once", () => {
  const early = new EarlyFetch(megabyte);
  early.keep(run(0, 64, true), undefined);
  early.learn(new Map([[1, new WantedPages([{ page: 0, pages: 64 }])]]));
  expect(early.takeUnconfirmed({ pid: 1, page: 0, pages: 64 })).toEqual([{ pid: 1, page: 0, pages: 64 }]);
  expect(early.takeUnconfirmed({ pid: 1, page: 0, pages: 64 })).toEqual([]);
  expect(early.nextUnconfirmed()).toBeUndefined();
});

test("an answer takes the pages that are the same from what is held, and tells of those that are not", () => {
  const early = new EarlyFetch(megabyte);
  early.keep(run(4, 4, true), undefined);
  const { runs, lost } = early.resolve(
    answer(0, 10, [
      { first: 0, pages: 2, at: 12 },
      { first: 2, pages: 7, at: "same" },
      { first: 9, pages: 1, at: "zero" },
    ]),
  );
  expect(runs.map(({ page, pages, spans, provisional }) => ({ page, pages, at: spans[0]?.at, provisional }))).toEqual([
    { page: 0, pages: 2, at: 12, provisional: false },
    { page: 4, pages: 4, at: 4, provisional: false },
    { page: 9, pages: 1, at: "zero", provisional: false },
  ]);
  expect(lost).toEqual([
    { page: 2, pages: 2 },
    { page: 8, pages: 1 },
  ]);
});
