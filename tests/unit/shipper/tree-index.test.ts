import { expect, test } from "vitest";
import { pathOf, TreeIndex } from "../../../services/shipper/core/tree-index.ts";
import type { TreeEntry } from "../../../services/shipper/core/tree-diff.ts";

/** An entry of the fields that an index looks at; the identity is of inode and device, 8 bytes each. */
function entry(name: string, inode: bigint, device = 1n, merged?: TreeEntry["mergedIdentity"]): TreeEntry {
  const identity = identityOf(inode, device);
  const found = { name, identity, mergedIdentity: merged, parent: undefined, children: new Map() };
  return found as Partial<TreeEntry> as TreeEntry;
}

function identityOf(inode: bigint, device: bigint): string {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(inode);
  bytes.writeBigUInt64LE(device, 8);
  return bytes.toString("latin1");
}

function adopt(parent: TreeEntry, child: TreeEntry): void {
  child.parent = parent;
  parent.children?.set(child.name, child);
}

test("files are told apart that differ in the device, or in the inode's upper bits only", () => {
  const root = entry("", 1n);
  const files = [entry("a", 7n), entry("b", 7n, 2n), entry("c", 7n + (1n << 30n)), entry("d", 7n + (1n << 40n))];
  for (const file of files) adopt(root, file);
  const index = new TreeIndex();
  index.add(root);
  for (const file of files) expect(index.find(file.identity)).toEqual([file]);
  const other = identityOf(7n + (1n << 31n), 1n);
  expect(index.find(other)).toEqual([]);
  expect(index.has(other)).toBe(false);
  expect(index.has(identityOf(7n, 2n))).toBe(true);
});

test("a file whose two identities have the same inode is found once", () => {
  const root = entry("", 1n);
  for (const name of ["a", "b", "c"]) adopt(root, entry(name, 7n, BigInt(name.charCodeAt(0)), identityOf(7n, 5n)));
  const index = new TreeIndex();
  index.add(root);
  expect(index.find(identityOf(7n, 5n)).map(({ name }) => name)).toEqual(["a", "b", "c"]);
  expect(index.find(identityOf(7n, 98n)).map(({ name }) => name)).toEqual(["b"]);
});

test("all names of a file are found, and by what processes know it by as well", () => {
  const root = entry("", 1n);
  const merged = identityOf(99n, 5n);
  const names = [entry("one", 7n, 1n, merged), entry("two", 7n, 1n, merged)];
  for (const name of names) adopt(root, name);
  const index = new TreeIndex();
  index.add(root);
  expect(index.find(identityOf(7n, 1n)).map(pathOf)).toEqual([["one"], ["two"]]);
  expect(index.find(merged)).toEqual(names);
});

test("what has left the tree is not found, but known", () => {
  const root = entry("", 1n);
  const directory = entry("dir", 2n);
  const file = entry("file", 3n);
  adopt(root, directory);
  adopt(directory, file);
  const index = new TreeIndex();
  index.add(root);
  root.children?.delete("dir");
  expect(index.find(file.identity)).toEqual([]);
  expect(index.has(file.identity)).toBe(true);
});
