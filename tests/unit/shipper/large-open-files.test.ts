/** Large files that are open for writing while they are sent: only what has changed of them is sent again, and all of that. */
import {
  closeSync,
  fchmodSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { punchHole } from "../../../services/shared/adapters/linux.ts";
import type { TreeEntry } from "../../../services/shipper/core/tree-diff.ts";
import type { SentTrees } from "../../../services/shipper/ship-trees.ts";
import { dataOf, passModes, settle, TreePasses } from "../../helpers/tree-passes.ts";
import { printTree } from "../../helpers/tree-print.ts";

const block = 256 * 1024;
let trees: TreePasses;
afterEach(() => trees.close());

/** A first pass over a file of 40 blocks and a little more, which stays open for writing. */
async function sendLarge(): Promise<{ large: string; fd: number; sent: SentTrees }> {
  const large = trees.inSource("large");
  writeFileSync(large, randomBytes(40 * block + 100));
  const fd = openSync(large, "r+");
  trees.processes = [process.pid];
  await settle();
  const { sent } = await trees.pass();
  return { large, fd, sent };
}

describe.each(passModes)("the second pass, by %s", (mode) => {
  beforeEach(() => void (trees = new TreePasses(mode)));

  test("sends of a large file that was open only the blocks that changed, and its new holes", async () => {
    const { large, fd, sent } = await sendLarge();
    expect(printTree(trees.target)).toEqual(printTree(trees.source));
    writeSync(fd, "changed", 7 * block + 5);
    writeSync(fd, randomBytes(2 * block), 0, 2 * block, 45 * block);
    fchmodSync(fd, 0o640);
    const before = trees.sourceLink.bytesSent;
    await trees.pass(sent);
    expect(printTree(trees.target)).toEqual(printTree(trees.source));
    expect(dataOf(trees.inTarget("large"))).toEqual(dataOf(large));
    // Blocks 7 and 40, two new ones, and little else.
    expect(trees.sourceLink.bytesSent - before).toBeLessThan(5 * block);
    closeSync(fd);
  });

  test("sends of a large open file what has changed while the container runs, and little of it again", async () => {
    const { large, fd, sent } = await sendLarge();
    const seen = new Map<TreeEntry, string>();
    for (let at = 0; at < 40; at++) writeSync(fd, randomBytes(8_192), 0, 8_192, at * block + 70_000);
    const before = trees.sourceLink.bytesSent;
    expect(await trees.passBetween(sent, seen)).toBeDefined();
    const between = trees.sourceLink.bytesSent;
    // Small parts of each block, not the blocks.
    expect(between - before).toBeGreaterThan(40 * 8_192);
    expect(between - before).toBeLessThan(8 * block);
    expect(readFileSync(trees.inTarget("large")).equals(readFileSync(large))).toBe(true);
    writeSync(fd, "once more", 3 * block);
    await trees.pass(sent);
    expect(printTree(trees.target)).toEqual(printTree(trees.source));
    expect(trees.sourceLink.bytesSent - between).toBeLessThan(block / 2);
    closeSync(fd);
  });

  test("is right whatever has moved when contents are sent once more", async () => {
    const names = ["stays", "moves", "goes", "is replaced", "gets a link", "dir/in it", "swapped/file"];
    for (const each of ["dir", "swapped", "other"]) mkdirSync(trees.inSource(each));
    for (const name of [...names, "other/file"]) writeFileSync(trees.inSource(name), randomBytes(300_000));
    const fds = [...names, "other/file"].map((name) => openSync(trees.inSource(name), "r+"));
    trees.processes = [process.pid];
    const { sent } = await trees.pass();
    for (const fd of fds) writeSync(fd, "changed", 100_000);
    renameSync(trees.inSource("moves"), trees.inSource("moved"));
    rmSync(trees.inSource("goes"));
    mkdirSync(trees.inSource("goes"));
    renameSync(trees.inSource("other/file"), trees.inSource("is replaced"));
    linkSync(trees.inSource("gets a link"), trees.inSource("link"));
    renameSync(trees.inSource("dir"), trees.inSource("dir then"));
    symlinkSync("other", trees.inSource("dir"));
    renameSync(trees.inSource("swapped"), trees.inSource("swapped away"));
    mkdirSync(trees.inSource("swapped"));
    writeFileSync(trees.inSource("swapped/file"), "not that one");
    await trees.passBetween(sent);
    expect(readFileSync(trees.inTarget("stays")).equals(readFileSync(trees.inSource("stays")))).toBe(true);
    // Two are where they were again.
    renameSync(trees.inSource("moved"), trees.inSource("moves"));
    rmSync(trees.inSource("swapped"), { recursive: true });
    renameSync(trees.inSource("swapped away"), trees.inSource("swapped"));
    await trees.passBetween(sent);
    await trees.pass(sent);
    expect(printTree(trees.target)).toEqual(printTree(trees.source));
    fds.forEach(closeSync);
  });

  test("loses nothing of a file that is written all the time", { timeout: 30_000 }, async () => {
    const bytes = 4 << 20;
    writeFileSync(trees.inSource("large"), randomBytes(bytes));
    const fd = openSync(trees.inSource("large"), "r+");
    trees.processes = [process.pid];
    const over = new AbortController();
    const writer = (async () => {
      for (let n = 0; !over.signal.aborted; n++) {
        writeSync(fd, randomBytes(3_000), 0, 3_000, (n * 7_368_787) % bytes);
        if (n % 50 === 0) ftruncateSync(fd, bytes / 2 + ((n * 104_729) % bytes));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const { sent } = await trees.pass();
    const seen = new Map<TreeEntry, string>();
    for (let round = 0; round < 5; round++) await trees.passBetween(sent, seen);
    over.abort();
    await writer;
    await trees.pass(sent);
    expect(readFileSync(trees.inTarget("large")).equals(readFileSync(trees.inSource("large")))).toBe(true);
    expect(dataOf(trees.inTarget("large"))).toEqual(dataOf(trees.inSource("large")));
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
        for (const root of [trees.source, trees.target])
          for (const each of readdirSync(root)) rmSync(join(root, each), { recursive: true });
        const large = trees.inSource("large");
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
            writeFileSync(trees.inSource("other"), randomBytes(units * unit));
            renameSync(trees.inSource("other"), large);
            fd = openSync(large, "r+");
          }
        };
        before.forEach(run);
        trees.processes = [process.pid];
        const { sent } = await trees.pass();
        const seen = new Map<TreeEntry, string>();
        for (const each of between) {
          each.forEach(run);
          await trees.passBetween(sent, seen);
        }
        after.forEach(run);
        await trees.pass(sent);
        closeSync(fd);
        expect(readFileSync(trees.inTarget("large")).equals(readFileSync(large))).toBe(true);
        expect(dataOf(trees.inTarget("large"))).toEqual(dataOf(large));
      }),
      { numRuns: 60 },
    );
  });
});
