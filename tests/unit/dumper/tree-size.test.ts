import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { countInodes, filesBytes } from "../../../services/dumper/adapters/container-size.ts";
import { treeSize } from "../../../services/dumper/adapters/tree-size.ts";

let root = "";
beforeEach(() => (root = mkdtempSync(join(tmpdir(), "tree-"))));
afterEach(() => rmSync(root, { recursive: true }));

const onDisk = (name: string): number => statSync(join(root, name)).blocks * 512;

test("files count, links and what they lead to do not", async () => {
  mkdirSync(join(root, "tree/a/b"), { recursive: true });
  mkdirSync(join(root, "outside"));
  writeFileSync(join(root, "outside/large"), "x".repeat(100_000));
  writeFileSync(join(root, "tree/one"), "x".repeat(10));
  writeFileSync(join(root, "tree/a/b/two"), "x".repeat(200));
  symlinkSync("../outside", join(root, "tree/link"));
  const { bytes, inodes } = await treeSize(join(root, "tree"), AbortSignal.timeout(5_000));
  expect(bytes).toBe(onDisk("tree/one") + onDisk("tree/a/b/two"));
  expect(bytes).toBeLessThan(100_000);
  // Itself, two directories, two files, the link.
  expect(inodes).toBe(6);
  expect(await countInodes([join(root, "tree"), join(root, "outside")])).toBe(8);
});

test("a hole takes no room", async () => {
  writeFileSync(join(root, "sparse"), "begin");
  truncateSync(join(root, "sparse"), 2 ** 40);
  expect((await treeSize(root, AbortSignal.timeout(5_000))).bytes).toBe(onDisk("sparse"));
  expect((await filesBytes([root]))[0]).toBeLessThan(1 << 20);
});

test("directories may come and go meanwhile", async () => {
  const tree = join(root, "tree");
  for (let i = 0; i < 50; i++) {
    mkdirSync(join(tree, `d${i}`), { recursive: true });
    for (let j = 0; j < 50; j++) writeFileSync(join(tree, `d${i}/f${j}`), "1");
  }
  const each = onDisk("tree/d0/f0");
  const counting = treeSize(tree, AbortSignal.timeout(5_000));
  for (let i = 0; i < 50; i += 2) renameSync(join(tree, `d${i}`), join(root, `gone${i}`));
  const { bytes } = await counting;
  expect(bytes).toBeGreaterThanOrEqual(25 * 50 * each);
  expect(bytes).toBeLessThanOrEqual(50 * 50 * each);
});

test("it ends when it is told to", async () => {
  for (let i = 0; i < 1_000; i++) writeFileSync(join(root, String(i)), "");
  await expect(treeSize(root, AbortSignal.abort(new Error("enough")))).rejects.toThrow();
});
