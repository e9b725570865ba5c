import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readDirectory, readDirectoryTypes } from "../../../services/shared/adapters/linux.ts";

let root: string;
let directory: string;
let fd: number;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dmigrate-read-directory-"));
  directory = join(root, "d");
  mkdirSync(directory);
  fd = openSync(directory, "r");
});
afterEach(() => {
  closeSync(fd);
  rmSync(root, { recursive: true });
});

test("what is in a directory is listed, but not itself and the one above it", () => {
  writeFileSync(join(directory, "file"), "");
  mkdirSync(join(directory, "..."));
  const [regular, directoryType] = [8, 4];
  const listed = [...readDirectoryTypes(fd)].map(({ name, type }) => [name.toString(), type]);
  expect(listed.sort()).toEqual([
    ["...", directoryType],
    ["file", regular],
  ]);
});

test("an open directory that was removed has nothing in it", () => {
  rmdirSync(directory);
  expect([...readDirectory(fd)]).toEqual([]);
});

test("one that is removed while it is listed has no more than was listed", () => {
  writeFileSync(join(directory, "file"), "");
  const listing = readDirectory(fd);
  expect(listing.next().value?.toString()).toBe("file");
  rmSync(directory, { recursive: true });
  expect([...listing]).toEqual([]);
});
