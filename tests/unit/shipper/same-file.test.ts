/** A file that is told to be the same as another: made of it, and of nothing else. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { maxMissing } from "../../../services/shared/core/frames/job-message.ts";
import { type TreeRecord } from "../../../services/shared/core/frames/tree-record.ts";
import type { Origins } from "../../../services/shipper/adapters/origins.ts";
import { attributes, chunk, directory, file, fileEnd, leave, TreeTarget } from "../../helpers/tree-target.ts";

let target: TreeTarget;
let dir: string;
let root: string;
let outside: string;
let origins: Origins;
beforeEach(() => {
  target = new TreeTarget();
  ({ dir, root, outside, origins } = target);
});
afterEach(() => target.close());
const apply = (...records: TreeRecord[]): Promise<void> => target.apply(records);

describe("a file that is the same as another", () => {
  const same = (path: string, text: string, tree = 0): TreeRecord => ({
    type: "same",
    length: text.length,
    hash: createHash("sha256").update(text).digest(),
    tree,
    path: Buffer.from(path),
  });
  const wrote = (name: string, text: string): TreeRecord[] => [file(name, text.length), chunk(0, text), fileEnd];
  const text = (name: string): string => readFileSync(join(root, name), "utf8");
  beforeEach(() => origins.noteTree(0, root));

  test("has its contents, and its own size and mode", async () => {
    await apply(directory(""), directory("d"), ...wrote("a", "0123456789"), leave);
    await apply(file("b", 10), same("d/a", "0123456789"), fileEnd, file("c", 5), same("d/a", "01234"), fileEnd, leave);
    expect([text("b"), text("c")]).toEqual(["0123456789", "01234"]);
    expect(origins.missing).toEqual([]);
  });

  test("may have it in another tree of the job", async () => {
    const other = join(dir, "other");
    mkdirSync(other);
    writeFileSync(join(other, "x"), "of another");
    origins.noteTree(7, other);
    await apply(directory(""), ...wrote("x", "of this one"), file("a", 10), same("x", "of another", 7), fileEnd);
    await apply(file("b", 11), same("x", "of this one"), fileEnd, leave);
    expect([text("a"), text("b")]).toEqual(["of another", "of this one"]);
  });

  test.each([
    ["twice", [same("a", "text"), same("a", "text")]],
    ["after a chunk", [chunk(0, "te"), same("a", "text")]],
    ["again, after one that is not there", [same("nothing", "text"), same("a", "text")]],
  ])("is that once, and nothing else: %s", async (_what, records) => {
    await apply(directory(""), ...wrote("a", "text"));
    await expect(apply(file("b", 4), ...records)).rejects.toThrow("has contents already");
  });

  test("leaves the time of access of what it is copied from", async () => {
    const old = { ...file("a", 4), attributes: { ...attributes, modify: { seconds: 5, nanos: 0 } } } as TreeRecord;
    await apply(directory(""), old, chunk(0, "text"), fileEnd, file("b", 4), same("a", "text"), fileEnd, leave);
    expect(lstatSync(join(root, "a")).atimeMs).toBe(0);
  });

  test.each<[string, string]>([
    ["outside, by ..", "../outside/precious"],
    ["outside, by an absolute path", ""],
    ["outside, by a link", "link"],
    ["outside, by a link on the way", "way/precious"],
    ["a link to a file of the tree", "inner"],
    ["a FIFO", "fifo"],
    ["a device", "/dev/zero"],
    ["a directory", "d"],
    ["nothing", "nothing"],
    ["a name that is too long", `d/${"x".repeat(300)}`],
    ["below a file", "f/x"],
    ["shorter", "short"],
    ["of other contents", "f"],
  ])("is left empty, and the source is told, where the path leads to something that is %s", async (_what, path) => {
    symlinkSync(join(outside, "precious"), join(root, "link"));
    symlinkSync(outside, join(root, "way"));
    symlinkSync("f", join(root, "inner"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    mkdirSync(join(root, "d"));
    writeFileSync(join(root, "f"), "PRECIOUS");
    writeFileSync(join(root, "short"), "precio");
    const where = path === "" ? join(outside, "precious") : path;
    await apply(directory(""), file("b", 8), same(where, "precious"), fileEnd, leave);
    expect(text("b")).toBe("\0".repeat(8));
    expect(origins.missing).toEqual([0]);
  });

  test.each<[string, TreeRecord[]]>([
    ["in a tree that was not begun", [file("b", 4), same("a", "text", 1)]],
    ["that is larger than its own size says", [file("b", 3), same("a", "text")]],
    ["in a patch", [{ ...file("a", 4), type: "patch" } as TreeRecord, same("a", "text")]],
    ["outside a file", [same("a", "text")]],
  ])("%s is refused", async (_what, records) => {
    await apply(directory(""), ...wrote("a", "text"));
    await expect(apply(...records)).rejects.toThrow(expect.objectContaining({ name: "FrameError" }));
  });

  test("may be missing a few thousand times in a job; more is a failure", async () => {
    const nothing = { tree: 0, path: Buffer.from("nothing"), length: 1, hash: Buffer.alloc(32) };
    for (let at = 0; at < maxMissing; at++) expect(await origins.readWhole(nothing)).toBeUndefined();
    await expect(origins.readWhole(nothing)).rejects.toMatchObject({ code: "transfer-failed" });
    expect(origins.missing.length).toBe(maxMissing);
  });
});
