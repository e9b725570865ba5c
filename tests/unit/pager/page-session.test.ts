import { duplexPair } from "node:stream";
import { expect, test } from "vitest";
import { PageBroker } from "../../../services/pager/core/page-broker.ts";
import { PageSession } from "../../../services/pager/page-session.ts";
import type { PageRange } from "../../../services/shared/core/criu/process-images.ts";
import { runFakeLazyPages } from "../../helpers/fake-lazy-pages.ts";
import { createModelSource, createRandom } from "../../helpers/model-memory.ts";

function makeProcesses(random: (below: number) => number): Map<number, PageRange[]> {
  const processes = new Map<number, PageRange[]>();
  for (const pid of [1, 15, 4000]) {
    let page = 0x7f00_0000 + random(1000);
    const ranges = Array.from({ length: 8 }, () => {
      const range = { page, pages: random(300) + 1 };
      page += range.pages + random(4);
      return range;
    });
    processes.set(pid, ranges);
  }
  return processes;
}

const total = (processes: ReadonlyMap<number, readonly PageRange[]>): number =>
  [...processes.values()].flat().reduce((sum, { pages }) => sum + pages, 0);

function start(seed: number, layout: "wide" | "compact", windowBytes: number) {
  const random = createRandom(seed);
  const processes = makeProcesses(random);
  const source = createModelSource(processes, () => random(4));
  const broker = new PageBroker({ windowBytes, chunkPages: 32 });
  const [ours, theirs] = duplexPair();
  const failures: unknown[] = [];
  const session = new PageSession({
    socket: ours,
    layout,
    broker,
    source,
    now: () => performance.now(),
    onFailure: (error) => failures.push(error),
  });
  for (const [pid, ranges] of processes) broker.addProcess(pid, ranges);
  return { random, processes, source, session, failures, theirs };
}

test.each([
  ["wide", 32, 1 << 20],
  ["compact", 24, 1 << 20],
  ["wide", 32, 64 << 10],
] as const)(
  "CRIU gets every page, as it was, in its order (%s layout, %i bytes, window %i)",
  async (layout, headerBytes, windowBytes) => {
    for (const seed of [1, 2]) {
      const { random, processes, session, failures, theirs } = start(seed, layout, windowBytes);
      const result = await runFakeLazyPages({
        socket: theirs,
        headerBytes,
        processes,
        random,
        faultEvery: 5,
        forks: 3,
      });
      expect(failures).toEqual([]);
      expect(result.status).toBe(0);
      expect(result.pages).toBeGreaterThanOrEqual(total(processes));
      expect(session.pagesFaulted + session.pagesPrefetched).toBe(result.pages);
      expect(session.faultLatency.count).toBeGreaterThanOrEqual(result.faults);
      expect(session.zeroPages).toBeGreaterThan(0);
      expect(session.closedByCriu).toBe(true);
    }
  },
);

test("without faults and forks every page is fetched once", async () => {
  const { random, processes, source, theirs } = start(9, "wide", 1 << 20);
  await runFakeLazyPages({ socket: theirs, headerBytes: 32, processes, random, faultEvery: 0, forks: 0 });
  const fetched = source.fetches.flatMap(({ pid, vaddr, pages }) =>
    Array.from({ length: pages }, (_, at) => `${pid}/${(Number(vaddr / 4096n) + at).toString()}`),
  );
  // A run that ends early, at a border of zero pages, is asked for again from there on.
  expect(new Set(fetched).size).toBe(total(processes));
});

test("a lost link is reported once, and CRIU is left waiting, not cut off", async () => {
  const { random, processes, source, failures, theirs } = start(4, "wide", 1 << 20);
  source.lose(new Error("the link is gone"));
  expect(failures).toEqual([]);
  const taking = runFakeLazyPages({ socket: theirs, headerBytes: 32, processes, random, faultEvery: 0, forks: 0 });
  const waited = new Promise((resolve) => setTimeout(() => resolve("still waiting"), 100));
  expect(await Promise.race([taking, waited])).toBe("still waiting");
  expect(failures).toHaveLength(1);
  expect(failures[0]).toMatchObject({ message: "the link is gone" });
});

test("bytes that are not the protocol are reported, and answered by silence", async () => {
  const { failures, theirs } = start(5, "wide", 1 << 20);
  theirs.on("data", () => expect.unreachable());
  theirs.write(Buffer.alloc(32, 0xff));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(failures).toHaveLength(1);
});
