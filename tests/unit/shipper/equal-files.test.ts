/** Small files of equal contents, over a connection in memory: which of them travel, and what comes of it at the destination. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Origins } from "../../../services/shipper/adapters/origins.ts";
import { passModes, settle, TreePasses } from "../../helpers/tree-passes.ts";
import { printTree } from "../../helpers/tree-print.ts";

const [slow, fast] = [10e6, 1e9];
const others = ["w", "x"];

let trees: TreePasses;
beforeEach(() => {
  trees = new TreePasses("reports", others);
  trees.noteLink(slow);
});
afterEach(() => {
  vi.restoreAllMocks();
  trees.close();
});

const expectSame = (): void => {
  for (const volume of [undefined, ...others])
    expect(printTree(trees.targetOf(volume))).toEqual(printTree(trees.sourceOf(volume)));
};

async function sentBy(work: () => Promise<unknown>): Promise<number> {
  const before = trees.sourceLink.bytesSent;
  await work();
  return trees.sourceLink.bytesSent - before;
}

describe("equal contents", () => {
  const contents = [1_024, 5_000, 70_000, 131_072].map((bytes) => randomBytes(bytes));
  const distinctBytes = contents.reduce((sum, { length }) => sum + length, 0);

  function fill(): void {
    for (const volume of [undefined, ...others])
      for (const [at, content] of contents.entries()) {
        const dir = join(trees.sourceOf(volume), `d${at}`, "sub");
        mkdirSync(dir, { recursive: true });
        for (let copy = 0; copy < 10; copy++) writeFileSync(join(dir, `f${copy}`), content, { mode: 0o600 + copy });
      }
  }

  test("travel once in a job over a slow link, whatever volume they are in, and each file is as it was", async () => {
    fill();
    // Of several names, and so no small one.
    linkSync(trees.inSource("d1/sub/f1"), trees.inSource("d1/link"));
    await settle();
    const bytes = await sentBy(() => trees.pass());
    expectSame();
    // Each reference, with the file's own attributes, takes some 200 bytes.
    expect(bytes).toBeLessThan(distinctBytes + 120 * 250);
  });

  test.each<[string, () => void]>([
    ["is fast", () => trees.noteLink(fast)],
    ["is slow, but nothing waits for it", () => trees.noteLink(slow, false)],
    ["is not known", () => undefined],
  ])("travel as often as they are there where the link %s", async (_what, note) => {
    trees.close();
    trees = new TreePasses("reports", others);
    note();
    for (let at = 0; at < 50; at++) writeFileSync(trees.inSource(`f${at}`), Buffer.alloc(20_000, "x"));
    await settle();
    expect(await sentBy(() => trees.pass())).toBeGreaterThan(50 * 20_000);
    expectSame();
  });

  test("that differ in a byte, in length or by a hole are told apart", async () => {
    const content = randomBytes(9_000);
    const near = Buffer.from(content);
    near[4_321] = (near[4_321] ?? 0) ^ 1;
    for (const [name, bytes] of [
      ["a", content],
      ["b", near],
      ["c", content.subarray(0, -1)],
      ["d", Buffer.concat([content, Buffer.from([0])])],
      ["e", content],
    ] as const)
      writeFileSync(trees.inSource(name), bytes);
    writeFileSync(trees.inSource("hole"), content);
    truncateSync(trees.inSource("hole"), 50_000);
    await settle();
    await trees.pass();
    expectSame();
  });

  test("go as they are where the first of them lies deeper than a path can say", async () => {
    const content = randomBytes(30_000);
    const names = Array.from({ length: 20 }, (_, file) => `f${file}`);
    let dir = trees.inSource("a");
    const at = process.cwd();
    try {
      for (let depth = 0; depth < 420; depth++) {
        mkdirSync(dir);
        process.chdir(dir);
        dir = "0123456789";
      }
      for (const name of names) writeFileSync(name, content);
      await settle();
      await trees.pass();
      process.chdir(trees.targetOf(undefined));
      for (const name of Array.from({ length: 420 }, (_, depth) => (depth === 0 ? "a" : "0123456789")))
        process.chdir(name);
      for (const name of names) expect(readFileSync(name).equals(content)).toBe(true);
    } finally {
      process.chdir(at);
    }
  });

  test("below a kilobyte go as they are", async () => {
    for (let at = 0; at < 50; at++) writeFileSync(trees.inSource(`f${at}`), Buffer.alloc(1_023, "x"));
    const read = vi.spyOn(Origins.prototype, "readWhole");
    await trees.pass();
    expect(read).not.toHaveBeenCalled();
    expectSame();
  });

  test("travel once in a pass in between too", async () => {
    writeFileSync(trees.inSource("old"), "");
    await settle();
    const { sent } = await trees.pass();
    mkdirSync(trees.inSource("new"));
    const content = randomBytes(30_000);
    for (let at = 0; at < 20; at++) writeFileSync(trees.inSource(`new/f${at}`), content);
    await settle();
    expect(await sentBy(() => trees.passBetween(sent))).toBeLessThan(2 * content.length);
    await trees.pass(sent);
    expectSame();
  });
});

describe.each(passModes)("what is not at the destination as the source means it (second pass by %s)", (mode) => {
  beforeEach(() => {
    trees.close();
    trees = new TreePasses(mode, others);
    trees.noteLink(slow);
  });
  const content = randomBytes(100_000);

  /** Makes a change just before the destination looks for the first file that another is the same as. */
  function beforeCopy(change: () => void): void {
    const read = vi.spyOn(Origins.prototype, "readWhole");
    read.mockImplementationOnce(function (this: Origins, whole) {
      change();
      // What it was by then is called next.
      return this.readWhole(whole);
    });
  }

  const put = (path: string, place: (path: string) => void): void => {
    renameSync(path, `${path} moved`);
    place(path);
  };
  test.each<[string, (path: string) => void]>([
    ["has gone", (path) => rmSync(path)],
    ["was renamed", (path) => renameSync(path, `${path} moved`)],
    ["has other contents", (path) => writeFileSync(path, Buffer.alloc(content.length, "other"))],
    ["is shorter", (path) => truncateSync(path, 50_000)],
    ["is a directory", (path) => put(path, (place) => mkdirSync(place))],
    ["is a link to the same contents", (path) => put(path, (place) => symlinkSync(`${place} moved`, place))],
    ["is a FIFO, which would hold it up", (path) => put(path, (place) => void execFileSync("mkfifo", [place]))],
  ])("is not copied, and its contents come with the last pass: it %s", async (_what, change) => {
    writeFileSync(trees.inSource("one"), content);
    for (const name of ["two", "three"]) writeFileSync(join(trees.sourceOf("w"), name), content);
    await settle();
    beforeCopy(() => change(trees.inTarget("one")));
    const { sent } = await trees.pass();
    // It is not the first pass's to mend what others do to its files.
    rmSync(trees.target, { recursive: true });
    mkdirSync(trees.target);
    writeFileSync(trees.inTarget("one"), content);
    // Nothing has changed at the source.
    await trees.passBetween(sent);
    await trees.pass(sent);
    for (const name of ["two", "three"])
      expect(readFileSync(join(trees.targetOf("w"), name)).equals(content)).toBe(true);
    expect(printTree(trees.targetOf("w"))).toEqual(printTree(trees.sourceOf("w")));
  });

  test("comes as a whole, where the last pass would have compared its blocks with what was sent", async () => {
    writeFileSync(trees.inSource("one"), content);
    const open = join(trees.sourceOf("w"), "open");
    writeFileSync(open, content);
    await settle();
    const fd = openSync(open, "r+");
    trees.processes = [process.pid];
    beforeCopy(() => rmSync(trees.inTarget("one")));
    const { sent } = await trees.pass();
    await trees.passBetween(sent);
    await trees.pass(sent);
    closeSync(fd);
    expect(readFileSync(join(trees.targetOf("w"), "open")).equals(content)).toBe(true);
  });
});
