import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  clearBindDirectory,
  lookAtBindDirectory,
  makeBindDirectory,
  type FilledBind,
} from "../../../services/restorer/adapters/bind-directories.ts";

let root = "";
beforeEach(() => (root = realpathSync(mkdtempSync(join(tmpdir(), "binds-")))));
afterEach(() => rmSync(root, { recursive: true }));

async function make(path: string): Promise<FilledBind[]> {
  const noted: FilledBind[] = [];
  await makeBindDirectory(path, (filled) => noted.push(filled));
  return noted;
}

test("what was made goes at a roll back, with what is in it, and nothing beside it", async () => {
  mkdirSync(join(root, "there"));
  const path = join(root, "there/a/b/data");
  const [filled] = await make(path);
  expect(filled).toEqual({ path, made: join(root, "there/a") });
  mkdirSync(join(path, "x/y"), { recursive: true });
  symlinkSync("/etc", join(path, "x/etc"));
  await clearBindDirectory(filled ?? { path });
  expect(readdirSync(join(root, "there"))).toEqual([]);
  expect(existsSync("/etc/passwd")).toBe(true);
  // Again, as after a crash in between.
  await clearBindDirectory(filled ?? { path });
});

test("a directory that somebody else uses by then stays", async () => {
  const path = join(root, "a/data");
  const [filled] = await make(path);
  writeFileSync(join(root, "a/other"), "");
  await clearBindDirectory(filled ?? { path });
  expect(readdirSync(join(root, "a"))).toEqual(["other"]);
});

test("an empty directory is emptied again, a filled one is left alone", async () => {
  const path = join(root, "data");
  mkdirSync(path);
  const [filled] = await make(path);
  writeFileSync(join(path, "new"), "");
  expect(await make(path)).toEqual([]);
  await clearBindDirectory(filled ?? { path });
  expect(readdirSync(root)).toEqual(["data"]);
  expect(readdirSync(path)).toEqual([]);
});

test("links and files on the way are told", async () => {
  writeFileSync(join(root, "file"), "");
  symlinkSync(root, join(root, "link"));
  for (const path of ["file", "file/below", "link", "link/below", "link/below/that"])
    expect(await lookAtBindDirectory(join(root, path))).toBe("no-directory");
  expect(await lookAtBindDirectory(join(root, "a/b"))).toBe("absent");
  await expect(make(join(root, "link/below"))).rejects.toThrow("no directory by itself");
});
