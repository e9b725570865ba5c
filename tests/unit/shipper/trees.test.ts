/** Trees over a connection in memory, on temporary directories: what needs no root. The rest is in tests/lab. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  fchmodSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import type { SourceTree } from "../../../services/shipper/adapters/snapshot.ts";
import { linkPair } from "../../helpers/link-pair.ts";
import { punchHole, seekData, seekHole } from "../../../services/shared/adapters/linux.ts";
import { printTree } from "../../helpers/tree-print.ts";
import type { FramedLink, FrameHandler } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import { TreesJob } from "../../../services/shipper/adapters/trees-job.ts";
import { FileJobs } from "../../../services/shipper/file-jobs.ts";
import { ReceiveJobs } from "../../../services/shipper/receive-jobs.ts";
import type { TreeEntry } from "../../../services/shipper/core/tree-diff.ts";
import { shipAll, shipChanges, shipContents, type Pass, type SentTrees } from "../../../services/shipper/ship-trees.ts";

const log = createLog("test", "silent");
const { signal } = new AbortController();

let dir: string;
let source: string;
let target: string;
let jobs: FileJobs;
let sourceLink: FramedLink;
/** Processes that count as the container's. */
let processes: number[];
const watches: { close: () => void }[] = [];

beforeEach(() => {
  dir = temporaryDirectory("dmigrate-trees-");
  source = join(dir, "source");
  target = join(dir, "target");
  mkdirSync(source);
  mkdirSync(target);
  processes = [];
  const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
  const { links } = linkPair(
    (frame) => handlers.source?.(frame),
    (frame) => handlers.target?.(frame),
  );
  jobs = new FileJobs();
  sourceLink = links[0];
  const place = { path: target, layer: undefined, keepAttributes: true, label: "volume v" };
  const receive = new ReceiveJobs({
    log,
    onDone: () => undefined,
    open: (spec) => new TreesJob(spec.kind === "trees" ? spec.trees : [], () => Promise.resolve(place), signal),
  });
  handlers.source = jobs.attach(links[0]);
  handlers.target = receive.attach(links[1]);
});

afterEach(() => {
  jobs.close(new Error("the test is over"));
  for (const watch of watches.splice(0)) watch.close();
});

const tree = (): SourceTree => ({ path: source, mergedPath: undefined, label: "volume v" });

/** How the second pass finds what changed: by the kernel's reports (as root, else it looks at all), or by looking. */
let mode: "reports" | "looking" = "reports";

const container = () => ({
  freezer: { processes: () => processes } as Parameters<typeof shipAll>[0]["freezer"],
  trees: [{ name: { kind: "volume" as const, name: "v" }, tree: tree() }],
});

async function pass(previous?: SentTrees): Promise<Pass> {
  const done =
    previous === undefined
      ? await shipAll({ jobs, ...container(), priority: 4, signal })
      : await shipChanges(
          { jobs, ...container(), priority: 1, signal },
          mode === "reports" ? previous : { ...previous, watched: undefined },
        );
  if (done.sent.watched !== undefined) watches.push(done.sent.watched.watch);
  return done;
}

/** One more over the contents of large open files, before the second pass. */
const contentPass = (sent: SentTrees, seen = new Map<TreeEntry, string>()): Promise<boolean> =>
  shipContents({ jobs, ...container(), priority: 4, signal }, sent, seen);

/** Where a file has data: from, to, and again. */
function dataOf(path: string): number[] {
  const fd = openSync(path, "r");
  const edges: number[] = [];
  for (let from = seekData(fd, 0); from !== undefined; from = seekData(fd, edges.at(-1) ?? 0))
    edges.push(from, seekHole(fd, from));
  closeSync(fd);
  return edges;
}

const inSource = (...names: string[]): string => join(source, ...names);
const inTarget = (...names: string[]): string => join(target, ...names);
/** Older than the file system's clock tick, so that the time of change tells. */
const settle = () => sleep(80);

function fill(): void {
  writeFileSync(inSource("file"), "hello");
  writeFileSync(inSource("empty"), "");
  writeFileSync(inSource("big"), Buffer.alloc(1_000_003, "big"));
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff, 0xfe, 0x0a])]), "not UTF-8");
  writeFileSync(inSource("x".repeat(255)), "long name");
  mkdirSync(inSource("dir/sub"), { recursive: true });
  writeFileSync(inSource("dir/sub/deep"), "deep");
  linkSync(inSource("file"), inSource("dir/hard"));
  symlinkSync("../nowhere/\u00ff", inSource("dir/link"));
  execFileSync("mkfifo", [inSource("fifo")]);
  chmodSync(inSource("dir/sub/deep"), 0o4750);
  chmodSync(inSource("dir"), 0o1777);
  lutimesSync(inSource("dir/link"), 1, 1234.5);
  utimesSync(inSource("file"), 1, 1_234_567_890.25);
  utimesSync(inSource("dir/sub"), 1, 77);
}

describe("a tree", () => {
  test("arrives as it is, over whatever was there", async () => {
    fill();
    mkdirSync(inTarget("file/in/the/way"), { recursive: true });
    mkdirSync(inTarget("dir/sub/stale"), { recursive: true });
    writeFileSync(inTarget("dir/link"), "stale");
    writeFileSync(inTarget("big"), "stale");
    symlinkSync(dir, inTarget("stale link"));
    await pass();
    expect(printTree(target)).toEqual(printTree(source));
  });

  test("keeps its holes", async () => {
    writeFileSync(inSource("sparse"), "begin");
    truncateSync(inSource("sparse"), 64 << 20);
    truncateSync(join(dir, "source/sparse"), 100 << 20);
    writeFileSync(inSource("hole"), "");
    truncateSync(inSource("hole"), 1_000_000);
    await pass();
    expect(printTree(target)).toEqual(printTree(source));
    expect(statSync(inTarget("sparse")).blocks).toBe(statSync(inSource("sparse")).blocks);
    expect(statSync(inTarget("hole")).blocks).toBe(0);
  });

  test("has zeros that are data, which travel as a word", async () => {
    const zeros = 20 << 20;
    writeFileSync(inSource("zeros"), Buffer.alloc(zeros));
    writeFileSync(inSource("mixed"), Buffer.concat([randomBytes(300_000), Buffer.alloc(2 << 20), Buffer.from("end")]));
    const before = sourceLink.bytesSent;
    await pass();
    expect(printTree(target)).toEqual(printTree(source));
    for (const name of ["zeros", "mixed"]) expect(dataOf(inTarget(name))).toEqual(dataOf(inSource(name)));
    expect(sourceLink.bytesSent - before).toBeLessThan(1 << 20);
  });

  test("has equal blocks of large files, which travel once", async () => {
    const block = 256 * 1024;
    const [a, b, c] = [randomBytes(block), randomBytes(block), randomBytes(100_000)];
    mkdirSync(inSource("dir/sub"), { recursive: true });
    writeFileSync(inSource("one"), Buffer.concat([a, b, a, a, c]));
    writeFileSync(inSource("dir/two"), Buffer.concat([b, randomBytes(block), a, c]));
    for (let i = 0; i < 20; i++) writeFileSync(inSource(`dir/sub/copy${i}`), Buffer.concat([a, b, a, b, c]));
    // Equal to others but for a byte, and but for their place in the block.
    writeFileSync(inSource("near"), Buffer.concat([a.subarray(0, -1), Buffer.from([(a.at(-1) ?? 0) ^ 1])]));
    writeFileSync(inSource("shifted"), Buffer.concat([Buffer.from("x"), a]));
    await settle();
    const before = sourceLink.bytesSent;
    const { files } = await pass();
    expect(files).toBe(24);
    expect(printTree(target)).toEqual(printTree(source));
    expect(sourceLink.bytesSent - before).toBeLessThan(6 * block);
  });

  test("of thousands of small files arrives", async () => {
    for (let i = 0; i < 3_000; i++) writeFileSync(inSource(`f${i}`), `${i}`);
    const { files } = await pass();
    expect(files).toBe(3_000);
    expect(printTree(target)).toEqual(printTree(source));
  });
});

describe.each(["reports", "looking"] as const)("the second pass, by %s", (how) => {
  beforeEach(() => {
    mode = how;
  });

  test("sends nothing when nothing changed", async () => {
    fill();
    await settle();
    const { sent } = await pass();
    expect((await pass(sent)).files).toBe(0);
  });

  test("brings every kind of change, and takes away what is gone", async () => {
    fill();
    await settle();
    const { sent } = await pass();
    writeFileSync(inSource("file"), "HELLO");
    utimesSync(inSource("file"), 1, 1_234_567_890.25);
    chmodSync(inSource("empty"), 0o600);
    rmSync(inSource("big"));
    mkdirSync(inSource("big"));
    writeFileSync(inSource("big/inside"), "x");
    renameSync(inSource("dir/sub"), inSource("moved"));
    linkSync(inSource("empty"), inSource("moved/hard"));
    symlinkSync("dir", inSource("to dir"));
    rmSync(inSource("fifo"));
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
  });

  test("sees a change within the same tick of the clock", async () => {
    writeFileSync(inSource("just written"), "first");
    const { sent } = await pass();
    writeFileSync(inSource("just written"), "other");
    expect((await pass(sent)).files).toBe(1);
    expect(readFileSync(inTarget("just written"), "utf8")).toBe("other");
  });

  test("sees a write by a name that is gone since", async () => {
    fill();
    await settle();
    const { sent } = await pass();
    mkdirSync(inSource("new"));
    linkSync(inSource("big"), inSource("new/name"));
    writeFileSync(inSource("new/name"), "changed");
    rmSync(inSource("new"), { recursive: true });
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
  });

  test("sees what happened in a directory that was moved away and back, and in one that took its place", async () => {
    fill();
    await settle();
    const { sent } = await pass();
    renameSync(inSource("dir"), inSource("away"));
    mkdirSync(inSource("dir"));
    writeFileSync(inSource("dir/other"), "other");
    writeFileSync(inSource("away/sub/deep"), "DEEP");
    renameSync(inSource("dir"), inSource("x"));
    renameSync(inSource("away"), inSource("dir"));
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
  });

  test("sends files that a process holds open for writing again, changed or not", async () => {
    fill();
    await settle();
    const fd = openSync(inSource("big"), "r+");
    const reader = openSync(inSource("file"), "r");
    processes = [process.pid];
    const { sent } = await pass();
    expect((await pass(sent)).files).toBe(1);
    closeSync(fd);
    closeSync(reader);
  });

  test("sends of a large file that was open only the blocks that changed, and its new holes", async () => {
    const block = 256 * 1024;
    const large = inSource("large");
    writeFileSync(large, randomBytes(40 * block + 100));
    const fd = openSync(large, "r+");
    processes = [process.pid];
    await settle();
    const { sent } = await pass();
    expect(printTree(target)).toEqual(printTree(source));
    writeSync(fd, "changed", 7 * block + 5);
    writeSync(fd, randomBytes(2 * block), 0, 2 * block, 45 * block);
    fchmodSync(fd, 0o640);
    const before = sourceLink.bytesSent;
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
    expect(dataOf(inTarget("large"))).toEqual(dataOf(large));
    // Blocks 7 and 40, two new ones, and little else.
    expect(sourceLink.bytesSent - before).toBeLessThan(5 * block);
    closeSync(fd);
  });

  test("sends of a large open file what has changed while the container runs, and little of it again", async () => {
    const block = 256 * 1024;
    const large = inSource("large");
    writeFileSync(large, randomBytes(40 * block + 100));
    const fd = openSync(large, "r+");
    processes = [process.pid];
    await settle();
    const { sent } = await pass();
    const seen = new Map<TreeEntry, string>();
    for (let at = 0; at < 40; at++) writeSync(fd, randomBytes(8_192), 0, 8_192, at * block + 70_000);
    const before = sourceLink.bytesSent;
    expect(await contentPass(sent, seen)).toBe(true);
    const between = sourceLink.bytesSent;
    // Small parts of each block, not the blocks.
    expect(between - before).toBeGreaterThan(40 * 8_192);
    expect(between - before).toBeLessThan(8 * block);
    expect(readFileSync(inTarget("large")).equals(readFileSync(large))).toBe(true);
    writeSync(fd, "once more", 3 * block);
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
    expect(sourceLink.bytesSent - between).toBeLessThan(block / 2);
    closeSync(fd);
  });

  test("is right whatever has moved when contents are sent once more", async () => {
    const names = ["stays", "moves", "goes", "is replaced", "gets a link", "dir/in it", "swapped/file"];
    for (const each of ["dir", "swapped", "other"]) mkdirSync(inSource(each));
    for (const name of [...names, "other/file"]) writeFileSync(inSource(name), randomBytes(300_000));
    const fds = [...names, "other/file"].map((name) => openSync(inSource(name), "r+"));
    processes = [process.pid];
    const { sent } = await pass();
    for (const fd of fds) writeSync(fd, "changed", 100_000);
    renameSync(inSource("moves"), inSource("moved"));
    rmSync(inSource("goes"));
    mkdirSync(inSource("goes"));
    renameSync(inSource("other/file"), inSource("is replaced"));
    linkSync(inSource("gets a link"), inSource("link"));
    renameSync(inSource("dir"), inSource("dir then"));
    symlinkSync("other", inSource("dir"));
    renameSync(inSource("swapped"), inSource("swapped away"));
    mkdirSync(inSource("swapped"));
    writeFileSync(inSource("swapped/file"), "not that one");
    await contentPass(sent);
    expect(readFileSync(inTarget("stays")).equals(readFileSync(inSource("stays")))).toBe(true);
    // Two are where they were again.
    renameSync(inSource("moved"), inSource("moves"));
    rmSync(inSource("swapped"), { recursive: true });
    renameSync(inSource("swapped away"), inSource("swapped"));
    await contentPass(sent);
    await pass(sent);
    expect(printTree(target)).toEqual(printTree(source));
    fds.forEach(closeSync);
  });

  test("loses nothing of a file that is written all the time", { timeout: 30_000 }, async () => {
    const bytes = 4 << 20;
    writeFileSync(inSource("large"), randomBytes(bytes));
    const fd = openSync(inSource("large"), "r+");
    processes = [process.pid];
    const over = new AbortController();
    const writer = (async () => {
      for (let n = 0; !over.signal.aborted; n++) {
        writeSync(fd, randomBytes(3_000), 0, 3_000, (n * 7_368_787) % bytes);
        if (n % 50 === 0) ftruncateSync(fd, bytes / 2 + ((n * 104_729) % bytes));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const { sent } = await pass();
    const seen = new Map<TreeEntry, string>();
    for (let round = 0; round < 5; round++) await contentPass(sent, seen);
    over.abort();
    await writer;
    await pass(sent);
    expect(readFileSync(inTarget("large")).equals(readFileSync(inSource("large")))).toBe(true);
    expect(dataOf(inTarget("large"))).toEqual(dataOf(inSource("large")));
    closeSync(fd);
  });

  test("makes a large open file into what it has become, whatever that is", { timeout: 60_000 }, async () => {
    const unit = 128 * 1024;
    const step = fc.record({
      kind: fc.constantFrom("write", "zero", "truncate", "hole", "replace", "as at first"),
      at: fc.integer({ min: 0, max: 20 }),
      shift: fc.constantFrom(0, 0, 4096, 5_000),
      units: fc.integer({ min: 1, max: 6 }),
    });
    const steps = fc.array(step, { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(steps, fc.array(steps, { maxLength: 3 }), steps, async (before, between, after) => {
        for (const root of [source, target])
          for (const each of readdirSync(root)) rmSync(join(root, each), { recursive: true });
        const large = inSource("large");
        const first = randomBytes(12 * unit);
        writeFileSync(large, first);
        let fd = openSync(large, "r+");
        const run = ({ kind, at, shift, units }: (typeof before)[number]): void => {
          const from = at * unit + shift;
          if (kind === "write") writeSync(fd, randomBytes(units * unit), 0, units * unit, from);
          else if (kind === "zero") writeSync(fd, Buffer.alloc(units * unit), 0, units * unit, from);
          else if (kind === "truncate") ftruncateSync(fd, from);
          else if (kind === "as at first") writeSync(fd, first.subarray(from, from + units * unit), 0, undefined, from);
          else if (kind === "hole") punchHole(fd, from, units * unit);
          else {
            closeSync(fd);
            writeFileSync(inSource("other"), randomBytes(units * unit));
            renameSync(inSource("other"), large);
            fd = openSync(large, "r+");
          }
        };
        before.forEach(run);
        processes = [process.pid];
        const { sent } = await pass();
        const seen = new Map<TreeEntry, string>();
        for (const each of between) {
          each.forEach(run);
          await contentPass(sent, seen);
        }
        after.forEach(run);
        await pass(sent);
        closeSync(fd);
        expect(readFileSync(inTarget("large")).equals(readFileSync(large))).toBe(true);
        expect(dataOf(inTarget("large"))).toEqual(dataOf(large));
      }),
      { numRuns: 60 },
    );
  });

  test("makes one random tree into another", { timeout: 60_000 }, async () => {
    const name = fc.constantFrom("a", "b", "c", "d");
    const step = fc.record({
      kind: fc.constantFrom("write", "mkdir", "remove", "rename", "link", "symlink", "chmod", "truncate"),
      path: fc.array(name, { minLength: 1, maxLength: 3 }),
      other: fc.array(name, { minLength: 1, maxLength: 3 }),
      number: fc.nat(0o777),
    });
    type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
    const run = ({ kind, path, other, number }: Step): void => {
      const [at, to] = [inSource(...path), inSource(...other)];
      try {
        if (kind === "write") writeFileSync(at, Buffer.alloc(number * 50, number));
        else if (kind === "mkdir") mkdirSync(at);
        else if (kind === "remove") rmSync(at, { recursive: true });
        else if (kind === "rename") renameSync(at, to);
        else if (kind === "link") linkSync(at, to);
        else if (kind === "symlink") symlinkSync(`../${path.join("/")}`, to);
        else if (kind === "chmod") chmodSync(at, number | 0o700);
        else truncateSync(at, number * 100);
      } catch {
        // The step does not fit the tree as it is: the next one may.
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.array(step, { maxLength: 15 }), async (before, after) => {
        for (const root of [source, target])
          for (const each of readdirSync(root)) rmSync(join(root, each), { recursive: true });
        before.forEach(run);
        const { sent } = await pass();
        expect(printTree(target)).toEqual(printTree(source));
        after.forEach(run);
        await pass(sent);
        expect(printTree(target)).toEqual(printTree(source));
      }),
      { numRuns: 150 },
    );
  });
});

describe("a failure of the destination", () => {
  test("fails the pass with its reason, and the next pass works", async () => {
    fill();
    rmSync(target, { recursive: true });
    await expect(pass()).rejects.toMatchObject({ code: "transfer-failed" });
    mkdirSync(target);
    await pass();
    expect(existsSync(inTarget("dir/sub/deep"))).toBe(true);
    expect(readFileSync(inTarget("file"), "utf8")).toBe("hello");
  });
});
