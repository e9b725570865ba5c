import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PageBroker, type Fetch } from "../../../services/pager/core/page-broker.ts";
import type { PageRange } from "../../../services/shared/core/criu/process-images.ts";
import { PageProtocolError } from "../../../services/shared/core/page-server/codec.ts";
import { createRandom, pageBytes, pageContents, runAt } from "../../helpers/model-memory.ts";

const window = 1 << 20;
const broker = (ranges: readonly PageRange[], windowBytes = window, chunkPages = 64): PageBroker => {
  const made = new PageBroker({ windowBytes, chunkPages });
  // CRIU's first background request lets the read-ahead run: one that is answered, of a process that has no more.
  made.addProcess(2, [{ page: 0, pages: 2 }]);
  made.request(2, 0, 2, 0);
  allFetches(made).forEach((fetch) => arrive(made, fetch));
  expect(made.nextAnswer(0)).toMatchObject({ pid: 2, pages: 2 });
  made.addProcess(1, ranges);
  return made;
};
const allFetches = (from: PageBroker): Fetch[] => {
  const fetches: Fetch[] = [];
  for (let fetch = from.nextFetch(); fetch !== undefined; fetch = from.nextFetch()) fetches.push(fetch);
  return fetches;
};
const arrive = (at: PageBroker, { pid, page, pages, priority }: Fetch): void =>
  at.arrived({ pid, page, pages, priority }, { pages, data: Buffer.alloc(pages * pageBytes, 1) });

describe("what is asked of the source", () => {
  test("nothing, until CRIU asks for pages in the background: before that the container is down", () => {
    const pages = new PageBroker({ windowBytes: window, chunkPages: 64 });
    pages.addProcess(1, [{ page: 0, pages: 200 }]);
    expect(allFetches(pages)).toEqual([]);
    pages.request(1, 7, 1, 0);
    expect(allFetches(pages).map(({ priority }) => priority)).not.toContain(3);
    pages.request(1, 0, 4, 0);
    expect(allFetches(pages).map(({ priority }) => priority)).toContain(3);
  });

  test("the whole memory, ahead of CRIU, as far as the window reaches", () => {
    const pages = broker([{ page: 100, pages: 1000 }]);
    const first = allFetches(pages);
    expect(first).toEqual([0, 1, 2, 3].map((at) => ({ pid: 1, page: 100 + at * 64, pages: 64, priority: 3 })));
    first.forEach((fetch) => arrive(pages, fetch));
    expect(allFetches(pages)).toEqual([]);
    pages.request(1, 100, 16, 0);
    expect(pages.nextAnswer(5)).toMatchObject({ page: 100, pages: 16, isFault: false, waited: 5 });
    expect(allFetches(pages)).toEqual([{ pid: 1, page: 356, pages: 64, priority: 3 }]);
  });

  test("a fault at priority 0 before anything else, its neighbours at priority 2", () => {
    const pages = broker([{ page: 0, pages: 5000 }]);
    allFetches(pages);
    pages.request(1, 4005, 1, 0);
    expect(allFetches(pages)).toEqual([
      { pid: 1, page: 4005, pages: 1, priority: 0 },
      { pid: 1, page: 4006, pages: 10, priority: 2 },
      { pid: 1, page: 4000, pages: 5, priority: 2 },
    ]);
  });

  test("a fault on a page that is on its way overtakes it, without its neighbours", () => {
    const pages = broker([{ page: 0, pages: 64 }]);
    allFetches(pages);
    pages.request(1, 7, 1, 0);
    expect(allFetches(pages)).toEqual([{ pid: 1, page: 7, pages: 1, priority: 0 }]);
  });

  test("a fault behind a background request that has nothing yet draws its first page along", () => {
    const pages = broker([{ page: 0, pages: 5000 }]);
    allFetches(pages);
    pages.request(1, 0, 64, 0);
    expect(allFetches(pages)).toEqual([]);
    pages.request(1, 4000, 1, 0);
    const urgent = allFetches(pages).filter(({ priority }) => priority === 0);
    expect(urgent.map(({ page }) => page)).toEqual([0, 4000]);
    urgent.forEach((fetch) => arrive(pages, fetch));
    expect(pages.nextAnswer(1)).toMatchObject({ page: 0, pages: 1 });
    expect(pages.nextAnswer(1)).toMatchObject({ page: 4000, pages: 1, isFault: true });
  });

  test("all processes in turn", () => {
    const pages = broker([{ page: 0, pages: 128 }]);
    pages.addProcess(2, [{ page: 0, pages: 128 }]);
    expect(allFetches(pages).map(({ pid, page }) => [pid, page])).toEqual([
      [1, 0],
      [2, 0],
      [1, 64],
      [2, 64],
    ]);
  });

  test("again what came short or was lost", () => {
    const pages = broker([{ page: 0, pages: 128 }]);
    const [first, second] = allFetches(pages) as [Fetch, Fetch];
    pages.arrived(first, { pages: 10, data: null });
    pages.lost(second);
    expect(allFetches(pages)).toEqual([
      { pid: 1, page: 10, pages: 64, priority: 3 },
      { pid: 1, page: 74, pages: 54, priority: 3 },
    ]);
  });

  test("again what a forked child asks for after its parent was given it", () => {
    const pages = broker([{ page: 0, pages: 64 }]);
    allFetches(pages).forEach((fetch) => arrive(pages, fetch));
    for (const parentThenChild of [0, 1]) {
      pages.request(1, 0, 64, parentThenChild);
      pages.request(1, 0, 64, parentThenChild);
      for (const answers of [0, 1]) {
        allFetches(pages).forEach((fetch) => arrive(pages, fetch));
        expect(pages.nextAnswer(answers)).toMatchObject({ page: 0, pages: 64 });
      }
    }
  });

  test("on after the window has filled with pages that nobody asks for", () => {
    const pages = broker([
      { page: 0, pages: 256 },
      { page: 1000, pages: 1000 },
    ]);
    allFetches(pages).forEach((fetch) => arrive(pages, fetch));
    let roundTrips = 0;
    for (let page = 1000; page < 2000; page += 8) {
      pages.request(1, page, 8, 0);
      const fetches = allFetches(pages);
      if (fetches.length > 0 && pages.nextAnswer(0) === undefined) {
        roundTrips += 1;
        fetches.forEach((fetch) => arrive(pages, fetch));
        expect(pages.nextAnswer(0)).toBeDefined();
        continue;
      }
      fetches.forEach((fetch) => arrive(pages, fetch));
      if (fetches.length === 0) expect(pages.nextAnswer(0)).toBeDefined();
    }
    expect(roundTrips).toBeLessThan(20);
  });
});

describe("what is refused", () => {
  test("requests beyond a lazy range, or of unknown processes", () => {
    const pages = broker([
      { page: 10, pages: 5 },
      { page: 15, pages: 5 },
    ]);
    expect(() => pages.request(2, 10, 1, 0)).toThrow(PageProtocolError);
    expect(() => pages.request(1, 9, 1, 0)).toThrow(PageProtocolError);
    expect(() => pages.request(1, 14, 2, 0)).toThrow(PageProtocolError);
  });

  test("answers of the source that are empty, too long, or of another length than they say", () => {
    for (const run of [
      { pages: 0, data: null },
      { pages: 65, data: null },
      { pages: 2, data: Buffer.alloc(pageBytes) },
    ]) {
      const pages = broker([{ page: 0, pages: 64 }]);
      const [fetch] = allFetches(pages) as [Fetch];
      expect(() => pages.arrived(fetch, run)).toThrow(PageProtocolError);
    }
  });
});

test("whatever comes in whatever order: answers in order, right contents, within the window, never stuck", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 0, max: 300 }),
      (seed, chunk, spare) => {
        const random = createRandom(seed);
        const windowBytes = (chunk + spare) * pageBytes;
        const pages = new PageBroker({ windowBytes, chunkPages: chunk });
        const ranges = new Map<number, PageRange[]>();
        for (const pid of [1, 2, 3]) {
          let page = random(50);
          const made: PageRange[] = [];
          for (let count = random(6) + 1; count > 0; count -= 1) {
            made.push({ page, pages: random(150) + 1 });
            page += (made.at(-1)?.pages ?? 0) + random(3);
          }
          ranges.set(pid, made);
          pages.addProcess(pid, made);
        }
        const asked: { pid: number; page: number; pages: number }[] = [];
        const inFlight: Fetch[] = [];
        let answered = 0;
        let idle = 0;
        while (answered < 300) {
          expect(++idle).toBeLessThan(2000);
          const kind = random(4);
          if (kind === 0 && asked.length < 6) {
            const pid = random(3) + 1;
            const options = ranges.get(pid) ?? [];
            const range = options[random(options.length)] ?? { page: 0, pages: 1 };
            const offset = random(range.pages);
            const request = { pid, page: range.page + offset, pages: random(range.pages - offset) + 1 };
            if (random(3) === 0) request.pages = 1;
            asked.push(request);
            pages.request(pid, request.page, request.pages, 0);
          } else if (kind === 1) {
            const fetch = inFlight.splice(random(inFlight.length + 1), 1)[0];
            if (fetch === undefined) continue;
            if (random(10) === 0) pages.lost(fetch);
            else {
              const run = runAt(fetch.pid, fetch.page, fetch.pages);
              const short = random(5) === 0 ? random(run.pages) + 1 : run.pages;
              pages.arrived(fetch, { pages: short, data: run.data?.subarray(0, short * pageBytes) ?? null });
            }
          }
          inFlight.push(...allFetches(pages));
          // Only what CRIU waits for may exceed the window: urgent pages, and the head of the queue.
          const demanded = 6 * 64 * pageBytes + window / 16;
          expect(pages.cachedBytes + pages.inFlightBytes).toBeLessThan(windowBytes + 64 * pageBytes + demanded);
          for (let answer = pages.nextAnswer(0); answer !== undefined; answer = pages.nextAnswer(0)) {
            const head = asked.shift();
            expect(answer).toMatchObject({ pid: head?.pid, page: head?.page });
            expect(answer.pages).toBeLessThanOrEqual(head?.pages ?? 0);
            const wanted = Array.from({ length: answer.pages }, (_, at) => pageContents(answer.pid, answer.page + at));
            const got = answer.parts.map(({ pages: count, data }) => data ?? Buffer.alloc(count * pageBytes));
            expect(Buffer.concat(got).equals(Buffer.concat(wanted))).toBe(true);
            answered += 1;
            idle = 0;
          }
          // The head of the queue is always being fetched.
          inFlight.push(...allFetches(pages));
          if (asked.length > 0) expect(inFlight.length).toBeGreaterThan(0);
        }
      },
    ),
    { numRuns: 20 },
  );
});
