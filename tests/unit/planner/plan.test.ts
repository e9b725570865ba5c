import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { linkSpeed } from "../../../services/planner/core/link-speed.ts";
import { size } from "../../../services/planner/core/plan-text.ts";
import { computePlan, type PlanInput } from "../../../services/planner/core/plan.ts";
import { createPagerSchema } from "../../../services/shared/contracts/pager.ts";
import type { NodeResources } from "../../../services/shared/contracts/common.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const node = (changes: Partial<NodeResources> = {}): NodeResources => ({ ...fakeResources(), ...changes });
const input = (changes: Partial<PlanInput> = {}): PlanInput => {
  const { source = node(), destination = node() } = changes;
  return {
    mode: "post-copy",
    source,
    destination,
    link: linkSpeed({ from: "a", to: "b", source, destination }, undefined, 0),
    profile: { ...fakeProfile(), memoryBytes: 4 * GiB },
    shipImage: false,
    layersPresent: 0,
    pullFrom: [],
    ...changes,
  };
};

describe("readers", () => {
  // A link for as many streams as anybody may want.
  const destination = node({ cores: 64, loadAverage1m: 0, linkMbitPerSecond: 400_000 });
  test.each([
    ["idle cores", node({ cores: 8, loadAverage1m: 2 }), 4 * GiB, 6],
    ["no more than seven, of eight streams", node({ cores: 64, loadAverage1m: 0 }), 64 * GiB, 7],
    ["at least one on a busy node", node({ cores: 2, loadAverage1m: 9 }), 4 * GiB, 1],
    ["half when tasks wait for CPU", node({ cores: 8, loadAverage1m: 0, pressureSomeAvg10: { cpu: 60 } }), 4 * GiB, 4],
    ["shared with other migrations", node({ cores: 8, loadAverage1m: 0, activeMigrations: 3 }), 4 * GiB, 2],
    ["one for a small container", node({ cores: 8, loadAverage1m: 0 }), 10 * MiB, 1],
  ])("%s", (_what, source, memoryBytes, readers) => {
    const ends = { source: { ...source, linkMbitPerSecond: 400_000 }, destination };
    expect(computePlan(input({ ...ends, profile: { ...fakeProfile(), memoryBytes } })).readers).toBe(readers);
  });
  test("no more than the destination has threads for, or the link carries streams of", () => {
    const big = node({ cores: 16, loadAverage1m: 0, linkMbitPerSecond: 400_000 });
    const readersOf = (source: NodeResources, other: NodeResources): number =>
      computePlan(input({ source, destination: other })).readers;
    expect(readersOf(big, big)).toBe(7);
    expect(readersOf(big, { ...big, loadAverage1m: 13 })).toBe(3);
    expect(readersOf(big, { ...big, linkMbitPerSecond: 25_000 })).toBe(3);
    expect(readersOf(big, { ...big, linkMbitPerSecond: 1_000 })).toBe(1);
  });
});

describe("memory before the resume", () => {
  const chosen = (changes: Partial<PlanInput>) => {
    const { precopy, earlyPages } = computePlan(input(changes));
    return { precopy, earlyPages };
  };
  const over = (mbit: number) => ({ source: node({ linkMbitPerSecond: mbit }) });
  const busy = node({ cores: 2, loadAverage1m: 1.5 });
  const tight = node({ cores: 2, loadAverage1m: 0 });
  const small = { source: tight, profile: { ...fakeProfile(), memoryBytes: 64 * MiB } };
  test.each<[string, Partial<PlanInput>, { precopy: boolean; earlyPages: boolean }]>([
    ["from the freeze on where cores are idle", {}, { precopy: false, earlyPages: true }],
    ["from the resume on where they are not", { source: busy }, { precopy: false, earlyPages: false }],
    ["from the freeze on with just enough of them", { source: tight }, { precopy: false, earlyPages: true }],
    ["from the resume on then, where it follows soon", small, { precopy: false, earlyPages: false }],
    [
      "from the freeze on all the same over a slow link",
      { ...small, source: { ...tight, linkMbitPerSecond: 100 } },
      { precopy: false, earlyPages: true },
    ],
    ["hybrid: before the freeze", { mode: "hybrid" }, { precopy: true, earlyPages: false }],
    [
      "hybrid over a fast link: from the freeze on",
      { mode: "hybrid", ...over(10_000) },
      { precopy: false, earlyPages: true },
    ],
    [
      "hybrid over one that is not much slower",
      { mode: "hybrid", ...over(2_500) },
      { precopy: false, earlyPages: true },
    ],
    ["hybrid over a slow one", { mode: "hybrid", ...over(1_000) }, { precopy: true, earlyPages: false }],
    [
      "hybrid of a small container: from the freeze on",
      { mode: "hybrid", profile: { ...fakeProfile(), memoryBytes: 10 * MiB } },
      { precopy: false, earlyPages: true },
    ],
    [
      "stop-and-copy over a fast link, on busy nodes too: from the freeze on",
      { mode: "stop-and-copy", destination: busy, ...over(10_000) },
      { precopy: false, earlyPages: true },
    ],
  ])("%s", (_what, changes, expected) => {
    expect(chosen(changes)).toEqual(expected);
  });
});

describe("files beside a missing image", () => {
  const profile = { ...fakeProfile(), writableLayerBytes: 100 * MiB, volumeBytes: 900 * MiB };
  const ahead = (mbit: number | undefined, changes: Partial<PlanInput> = {}): number =>
    computePlan(
      input({
        shipImage: true,
        profile,
        source: node({ ...(mbit !== undefined && { linkMbitPerSecond: mbit }) }),
        ...changes,
      }),
    ).aheadBytes;
  test("all of them over a slow link, few where they come as quickly later", () => {
    expect(ahead(1_000)).toBe(1_000 * MiB);
    expect(ahead(10_000)).toBe(64 * MiB);
    expect(ahead(undefined)).toBe(64 * MiB);
    expect(ahead(10_000, { profile: { ...profile, volumeBytes: 0, writableLayerBytes: MiB } })).toBe(MiB);
  });
  test("none where there are none, or the image is there", () => {
    expect(ahead(1_000, { profile: { ...profile, volumeBytes: 0, writableLayerBytes: 0 } })).toBe(0);
    expect(ahead(1_000, { shipImage: false })).toBe(0);
  });
});

describe("link", () => {
  const over = (mbit: number | undefined, changes: Partial<NodeResources> = {}) =>
    computePlan(
      input({
        source: node({ ...changes, ...(mbit !== undefined && { linkMbitPerSecond: mbit }) }),
        destination: node(changes),
      }),
    );
  test("one stream for bulk and one for urgent frames up to 10 Gbit/s, more beyond, no more than there are cores", () => {
    expect(over(1_000).streams).toBe(2);
    expect(over(10_000).streams).toBe(2);
    expect(over(40_000, { cores: 16 }).streams).toBe(5);
    expect(over(400_000, { cores: 4 }).streams).toBe(4);
    expect(over(400_000, { cores: 1 }).streams).toBe(2);
    expect(over(undefined).streams).toBe(2);
  });
  test("more where memory is slow: what a stream moves is copied several times", () => {
    const slow = node({ cores: 16, linkMbitPerSecond: 10_000, memoryBytesPerSecond: 2e9 });
    const plan = computePlan(input({ source: slow, destination: node({ cores: 16 }) }));
    expect(plan.streams).toBe(4);
    expect(plan.reasons.join("\n")).toMatch(
      /3 for bulk over 10 Gbit\/s, of which one moves 4 Gbit\/s, memory is copied at 1.9 GiB\/s/,
    );
  });
  test("a chunk is about a millisecond of the link", () => {
    expect(over(10).chunkBytes).toBe(16 * KiB);
    expect(over(1_000).chunkBytes).toBe(64 * KiB);
    expect(over(100_000).chunkBytes).toBe(256 * KiB);
    expect(over(undefined).chunkBytes).toBe(256 * KiB);
  });
  test("what was measured counts, not what the interfaces say; streams that are open stay", () => {
    const fast = node({ linkMbitPerSecond: 10_000 });
    const measured = { bytesPerSecond: 12.5e6, measuredAt: 0 };
    const ends = { from: "a", to: "b", source: fast, destination: fast };
    const link = linkSpeed(ends, measured, 60_000);
    const slow = input({ mode: "hybrid", source: fast, destination: fast, link });
    expect(computePlan({ ...slow, link: linkSpeed(ends, undefined, 0) })).toMatchObject({
      precopy: false,
      compression: "none",
      chunkBytes: 256 * KiB,
    });
    expect(computePlan(slow)).toMatchObject({ precopy: true, compression: "zstd", chunkBytes: 16 * KiB });
    expect(computePlan(slow).reasons[0]).toBe("link a -> b: 100 Mbit/s, measured 1 minute ago");
    expect(computePlan({ ...slow, open: { streams: 5, readers: 3 } })).toMatchObject({ streams: 5, readers: 3 });
  });
  test("the slower end counts", () => {
    const source = node({ linkMbitPerSecond: 10_000 });
    const destination = node({ linkMbitPerSecond: 100 });
    expect(computePlan(input({ source, destination })).chunkBytes).toBe(16 * KiB);
  });
  test("zstd where idle cores outrun the link, and nowhere else", () => {
    expect(over(100).compression).toBe("zstd");
    expect(over(40_000).compression).toBe("none");
    expect(over(undefined).compression).toBe("none");
    expect(over(100, { loadAverage1m: 4 }).compression).toBe("none");
    expect(over(100, { pressureSomeAvg10: { cpu: 90 } }).compression).toBe("none");
  });
});

describe("window", () => {
  test.each([
    ["a quarter of what is left", { memoryAvailableBytes: 6 * GiB }, 4 * GiB, 512 * MiB],
    ["at most 1 GiB", { memoryAvailableBytes: 64 * GiB }, 4 * GiB, GiB],
    ["no larger than the container", { memoryAvailableBytes: 64 * GiB }, 100 * MiB, 100 * MiB],
    ["but 16 MiB for a tiny one", { memoryAvailableBytes: 64 * GiB }, MiB, 16 * MiB],
    ["1 MiB when nothing is left", { memoryAvailableBytes: 0 }, 4 * GiB, MiB],
    [
      "half when tasks wait for memory",
      { memoryAvailableBytes: 6 * GiB, pressureSomeAvg10: { memory: 50 } },
      4 * GiB,
      256 * MiB,
    ],
    ["shared", { memoryAvailableBytes: 6 * GiB, activeMigrations: 1 }, 4 * GiB, 256 * MiB],
  ])("%s", (_what, changes, memoryBytes, windowBytes) => {
    const destination = node(changes);
    expect(computePlan(input({ destination, profile: { ...fakeProfile(), memoryBytes } })).windowBytes).toBe(
      windowBytes,
    );
  });
});

test("room for memory that is sent ahead is half of what is free, shared, and little more than there is", () => {
  const room = (changes: Partial<NodeResources>, memoryBytes: number, mode: PlanInput["mode"] = "hybrid") =>
    computePlan(input({ mode, destination: node(changes), profile: { ...fakeProfile(), memoryBytes } })).earlyBytes;
  expect(room({ memoryAvailableBytes: 6 * GiB }, 4 * GiB)).toBe(3 * GiB);
  expect(room({ memoryAvailableBytes: 6 * GiB, activeMigrations: 2 }, 4 * GiB)).toBe(GiB);
  expect(room({ memoryAvailableBytes: 64 * GiB }, 4 * GiB)).toBe(6 * GiB);
  expect(room({ memoryAvailableBytes: 0 }, 4 * GiB)).toBe(MiB);
  // Memory that is sent from the freeze on is not sent again: it takes part of the window.
  expect(room({ memoryAvailableBytes: 6 * GiB }, 4 * GiB, "post-copy")).toBe(512 * MiB);
});

test("expected bytes are all that will leave the source", () => {
  const profile = {
    ...fakeProfile(),
    memoryBytes: 100,
    writableLayerBytes: 20,
    volumeBytes: 3,
    imageBytes: 5000,
    processes: 0,
  };
  const images = 2 * MiB;
  expect(computePlan(input({ profile })).expectedBytes).toBe(123 + images);
  expect(computePlan(input({ profile, shipImage: true })).expectedBytes).toBe(5123 + images);
});

test("each number has one sentence, and what clients will notice has one too", () => {
  const profile = { ...fakeProfile(), tcpConnections: 2 };
  const { reasons } = computePlan(input({ profile, destination: node({ kernel: "6.12.1" }) }));
  expect(reasons).toHaveLength(11);
  expect(reasons.join("\n")).toContain("2 open TCP connections will be closed");
  expect(reasons.join("\n")).toContain("6.12.1");
});

test("whatever is measured, the numbers are ones that the services accept", () => {
  const bytes = fc
    .nat({ max: Number.MAX_SAFE_INTEGER >>> 0 })
    .chain((low) => fc.nat({ max: 1 << 20 }).map((high) => high * 2 ** 31 + low));
  const anyNode = fc
    .record({
      cores: fc.integer({ min: 1, max: 1024 }),
      loadAverage1m: fc.double({ min: 0, max: 1e6, noNaN: true }),
      memoryAvailableBytes: bytes,
      activeMigrations: fc.nat(100),
      linkMbitPerSecond: fc.option(fc.double({ min: 0, max: 1e9, noNaN: true }), { nil: undefined }),
      pressureSomeAvg10: fc.record({ cpu: fc.double({ min: 0, max: 100, noNaN: true }) }),
    })
    .map(({ linkMbitPerSecond, ...rest }) =>
      node({ ...rest, ...(linkMbitPerSecond !== undefined && { linkMbitPerSecond }) }),
    );
  fc.assert(
    fc.property(anyNode, anyNode, bytes, fc.nat(65_536), (source, destination, memoryBytes, processes) => {
      const plan = computePlan(input({ source, destination, profile: { ...fakeProfile(), memoryBytes, processes } }));
      const { windowBytes, earlyBytes, chunkBytes } = plan;
      createPagerSchema
        .pick({ windowBytes: true, earlyBytes: true, chunkBytes: true })
        .parse({ windowBytes, earlyBytes, chunkBytes });
      expect(plan.readers).toBeGreaterThanOrEqual(1);
      expect(plan.readers).toBeLessThanOrEqual(Math.min(8, source.cores));
      expect(plan.streams).toBeGreaterThanOrEqual(2);
      expect(plan.streams).toBeLessThanOrEqual(8);
      expect(chunkBytes % 4096).toBe(0);
      for (const reason of plan.reasons) expect(reason).not.toMatch(/NaN|Infinity|undefined/);
    }),
  );
});

test("sizes for people", () => {
  expect([0, 1023, 1024, 1536, 10 * MiB, 2.25 * GiB].map(size)).toEqual([
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "10 MiB",
    "2.3 GiB",
  ]);
});
