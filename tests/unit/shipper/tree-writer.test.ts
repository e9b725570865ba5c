/** What a hostile source may send to the destination's tree writer: nothing of it gets outside the tree. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  type BigIntStats,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { noSmallFile, writeSmallHead } from "../../../services/shared/core/frames/small-file.ts";
import { RecordReader, type TreeRecord } from "../../../services/shared/core/frames/tree-record.ts";
import type { Origins } from "../../../services/shipper/adapters/origins.ts";
import { smallFrame } from "../../../services/shipper/adapters/small-files.ts";
import { TreeWriter } from "../../../services/shipper/adapters/tree-writer.ts";
import { close, openTrustedDirectory } from "../../../services/shared/adapters/linux.ts";
import {
  attributes,
  chunk,
  directory,
  file,
  fileEnd,
  leave,
  link,
  symlink,
  TreeTarget,
} from "../../helpers/tree-target.ts";

let target: TreeTarget;
let root: string;
let outside: string;
let rootFd: number;
let origins: Origins;
beforeEach(() => {
  target = new TreeTarget();
  ({ root, outside, rootFd, origins } = target);
});
afterEach(() => target.close());
const apply = (...records: TreeRecord[]): Promise<void> => target.apply(records);

describe("a link to the outside", () => {
  test("is made, and never followed: what has its name replaces it", async () => {
    await apply(directory(""), symlink("way", outside), directory("way"), file("new"), fileEnd, leave, leave);
    expect(existsSync(join(root, "way/new"))).toBe(true);
  });
  test("is not written through", async () => {
    symlinkSync(join(outside, "precious"), join(root, "a"));
    await apply(directory(""), file("a", 3), chunk(0, "new"), fileEnd, leave);
    expect(readFileSync(join(root, "a"), "utf8")).toBe("new");
  });
  test("that was there is not entered, and not emptied", async () => {
    symlinkSync(outside, join(root, "d"));
    symlinkSync(outside, join(root, "e"));
    await apply(directory("", { prune: true }), directory("d", { prune: true }), leave, leave);
    expect(readdirSync(root)).toEqual(["d"]);
  });
  test("is removed itself", async () => {
    symlinkSync(outside, join(root, "d"));
    await apply(
      directory(""),
      { type: "remove", name: Buffer.from("d") },
      directory("x", { fresh: true }),
      leave,
      leave,
    );
    expect(readdirSync(root)).toEqual(["x"]);
  });
});

describe("a hard link", () => {
  test.each([["../outside/precious"], ["/etc/passwd"], ["way/precious"], [".."], ["x/../../outside/precious"]])(
    "to %s is refused",
    async (path) => {
      symlinkSync(outside, join(root, "way"));
      mkdirSync(join(root, "x"));
      await expect(apply(directory(""), link("mine", path))).rejects.toMatchObject({
        code: expect.stringMatching(/^(EXDEV|ELOOP|ENOENT|EPERM)$/) as string,
      });
      expect(existsSync(join(root, "mine"))).toBe(false);
    },
  );
  test("to a file of the tree is made", async () => {
    await apply(directory(""), directory("x"), file("y", 1), chunk(0, "y"), fileEnd, leave, link("mine", "x/y"), leave);
    expect(readFileSync(join(root, "mine"), "utf8")).toBe("y");
  });
});

describe("records out of place are refused", () => {
  test.each<[string, TreeRecord[]]>([
    ["a file before the root", [file("a")]],
    ["a directory with a name before the root", [directory("a")]],
    ["a second root within", [directory(""), directory("")]],
    ["leaving what was not entered", [leave]],
    ["leaving once too often", [directory(""), leave, leave]],
    ["a second root after", [directory(""), leave, directory("")]],
    ["data outside a file", [directory(""), chunk(0, "x")]],
    ["the end of no file", [directory(""), fileEnd]],
    ["a directory within a file", [directory(""), file("a"), directory("b")]],
    ["leaving within a file", [directory(""), file("a"), leave]],
    ["a removal outside", [{ type: "remove", name: Buffer.from("a") }]],
    ["a link outside", [link("a", "b")]],
    ["an attribute of nothing", [directory(""), { type: "remove", name: Buffer.from("a") }, attribute("user.x", 1)]],
    ["data beyond the end", [directory(""), file("a", 2), chunk(0, "xxx")]],
    ["data far beyond the end", [directory(""), file("a", 2), chunk(Number.MAX_SAFE_INTEGER, "x")]],
    ["attributes without end", [directory(""), ...Array.from({ length: 40 }, () => attribute("user.x", 65_000))]],
    ["attributes of nothing but a name", [directory(""), ...attributesOf(5_000)]],
    [
      "attributes without end on directories within each other",
      Array.from({ length: 20 }, (_, depth) => [directory(depth === 0 ? "" : "d"), ...attributesOf(3_900)]).flat(),
    ],
    ["directories without end", [directory(""), ...Array.from({ length: 600 }, () => directory("d"))]],
    [
      "a node that is a directory",
      [
        directory(""),
        { type: "node", name: Buffer.from("n"), attributes: { ...attributes, mode: 0o40777 }, major: 0, minor: 0 },
      ],
    ],
  ])("%s", async (_what, records) => {
    await expect(apply(...records)).rejects.toThrow(expect.objectContaining({ name: "FrameError" }));
  });
});

function attribute(name: string, bytes: number): TreeRecord {
  return { type: "attribute", name: Buffer.from(name), value: Buffer.alloc(bytes) };
}

function attributesOf(count: number): TreeRecord[] {
  return Array.from({ length: count }, () => attribute("x", 0));
}

test("attributes of directories that were left count no more", async () => {
  const held = Array.from({ length: 3_900 }, () => attribute("user.x", 0));
  await apply(directory(""));
  for (let n = 0; n < 20; n++) await apply(directory("d"), ...held, leave);
  await apply(leave);
});

describe("a tree of files only", () => {
  beforeEach(() => {
    target.writer = new TreeWriter({ rootFd, rootPath: root, leftovers: undefined, keepAttributes: false, origins });
  });

  test.each<[string, TreeRecord]>([
    ["a symbolic link", symlink("a", "/etc/shadow")],
    [
      "a FIFO",
      { type: "node", name: Buffer.from("a"), attributes: { ...attributes, mode: 0o10600 }, major: 0, minor: 0 },
    ],
    [
      "a device",
      { type: "node", name: Buffer.from("a"), attributes: { ...attributes, mode: 0o20600 }, major: 1, minor: 5 },
    ],
    ["a hard link", link("a", "d/f")],
  ])("takes no %s", async (_what, record) => {
    await apply(directory(""), directory("d"), file("f"), fileEnd, leave);
    await expect(apply(record)).rejects.toThrow(expect.objectContaining({ name: "FrameError" }));
    expect(readdirSync(root)).toEqual(["d"]);
  });
});

describe("a patch", () => {
  const patch = (name: string, size: number): TreeRecord => ({ ...file(name, size), type: "patch" }) as TreeRecord;
  const hole = (offset: number, length: number): TreeRecord => ({ type: "hole", offset, length });

  test("changes what it says of a file, and keeps the rest", async () => {
    writeFileSync(join(root, "f"), "0123456789");
    await apply(directory(""), patch("f", 8), chunk(2, "ab"), fileEnd, leave);
    expect(readFileSync(join(root, "f"), "latin1")).toBe("01ab4567");
  });

  test("makes holes, and a longer file", async () => {
    writeFileSync(join(root, "f"), Buffer.alloc(12_288, "x"));
    await apply(directory(""), patch("f", 20_000), hole(4096, 4096), fileEnd, leave);
    const wanted = Buffer.alloc(20_000);
    wanted.fill("x", 0, 4096).fill("x", 8192, 12_288);
    expect(readFileSync(join(root, "f")).equals(wanted)).toBe(true);
  });

  test("of a link, a FIFO or a directory is refused, and nothing is opened by it", async () => {
    symlinkSync(join(outside, "precious"), join(root, "link"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    mkdirSync(join(root, "dir"));
    await apply(directory(""));
    for (const name of ["link", "fifo", "dir"])
      await expect(apply(patch(name, 5))).rejects.toThrow("of what is no file");
  });

  test("stays within the size that it says, and needs a file that is there", async () => {
    writeFileSync(join(root, "f"), "0123");
    await apply(directory(""));
    await expect(apply(patch("none", 5))).rejects.toThrow("ENOENT");
    await apply(patch("f", 8));
    await expect(apply(hole(4, 5))).rejects.toThrow("beyond the end");
    await expect(apply(chunk(4, "abcde"))).rejects.toThrow("beyond the end");
  });

  test("is the only place for holes", async () => {
    await apply(directory(""), file("new", 8192));
    await expect(apply(hole(0, 4096))).rejects.toThrow("outside a patch");
  });
});

describe("a copy", () => {
  const origin = (number: number): TreeRecord => ({ type: "origin", number });
  const copy = (offset: number, length: number, number: number, from: number): TreeRecord => ({
    type: "copy",
    offset,
    length,
    number,
    from,
  });
  const wrote = (name: string, number: number, text: string): TreeRecord[] => [
    file(name, text.length),
    origin(number),
    chunk(0, text),
    fileEnd,
  ];
  const text = (name: string): string => readFileSync(join(root, name), "utf8");

  test("has the bytes of a file before, and of the same file", async () => {
    await apply(directory(""), directory("d"), ...wrote("a", 0, "0123456789"), leave);
    await apply(file("b", 10), origin(1), chunk(0, "xy"), copy(2, 4, 0, 3), copy(6, 4, 1, 0), fileEnd, leave);
    expect(text("b")).toBe("xy3456xy34");
  });
  test.each<[string, TreeRecord[]]>([
    ["of a file that has no number", [copy(0, 1, 1, 0)]],
    ["beyond the end of that file", [copy(0, 2, 0, 9)]],
    ["beyond the end of its own", [copy(9, 2, 0, 0)]],
    ["with a number for this file that is another's", [origin(0)]],
    ["with a number that is not the next", [origin(2)]],
  ])("%s is refused", async (_what, records) => {
    await apply(directory(""), ...wrote("a", 0, "0123456789"), file("b", 10));
    await expect(apply(...records)).rejects.toThrow(expect.objectContaining({ name: "FrameError" }));
  });
  test.each<[string, (path: string) => void]>([
    ["a link to the outside", (path) => symlinkSync(join(outside, "precious"), path)],
    ["another file", (path) => writeFileSync(path, "precious!!")],
    ["a FIFO", (path) => void execFileSync("mkfifo", [path])],
    ["nothing", () => undefined],
  ])("is not made of what has taken the file's place: %s", async (_what, put) => {
    await apply(directory(""), ...wrote("a", 0, "0123456789"), file("b", 10));
    // Kept, so that its number is not given to another one.
    renameSync(join(root, "a"), join(root, "kept"));
    put(join(root, "a"));
    await expect(apply(copy(0, 5, 0, 0))).rejects.toMatchObject({ code: "transfer-failed" });
  });
  test("is not made of what has got the number of a file that is gone, unless it is a file too", async () => {
    mkdirSync(join(root, "d"));
    const fd = openTrustedDirectory(join(root, "d"));
    origins.note(0, root, [Buffer.from("d")], fd);
    close(fd);
    await apply(directory(""), file("b", 10));
    await expect(apply(copy(0, 5, 0, 0))).rejects.toMatchObject({ code: "transfer-failed" });
  });
  test("of a patch can't be asked for", async () => {
    writeFileSync(join(root, "f"), "0123");
    await apply(directory(""), { ...file("f", 4), type: "patch" } as TreeRecord);
    await expect(apply(origin(0))).rejects.toThrow("a patch with a number");
  });
});

describe("small files", () => {
  /** Applies them as they come out of a frame. */
  function applySmall(...files: { name: string; text: string; mode?: number; seconds?: number }[]): void {
    const bytes = Buffer.alloc(64 * 1024);
    let end = 0;
    for (const { name, text, mode = 0o100600, seconds = 0 } of files) {
      const each = { ...attributes, mode, modify: { seconds, nanos: 7 } };
      const at = writeSmallHead(bytes, end, Buffer.from(name), each, text.length);
      end = at + bytes.write(text, at);
    }
    const frame = smallFrame(bytes.subarray(0, end));
    const reader = new RecordReader(frame.bytes);
    const file = noSmallFile();
    while (!reader.done) {
      if (!reader.small(file)) throw new Error("no small file");
      target.writer.applySmall(frame, file);
    }
  }
  const stat = (name: string): BigIntStats => lstatSync(join(root, name), { bigint: true });

  test("are made with their modes and times", async () => {
    await apply(directory(""));
    applySmall(
      { name: "a", text: "abc", mode: 0o100644, seconds: 1_000_000_000 },
      { name: "b", text: "", mode: 0o104777, seconds: -2 },
      { name: "c", text: "c", mode: 0o100644, seconds: 2 ** 33 },
    );
    await apply(leave);
    expect(["a", "b", "c"].map((name) => readFileSync(join(root, name), "utf8"))).toEqual(["abc", "", "c"]);
    expect(["a", "b", "c"].map((name) => Number(stat(name).mode).toString(8))).toEqual(["100644", "104777", "100644"]);
    expect(["a", "b", "c"].map((name) => stat(name).mtimeNs)).toEqual([
      1_000_000_000_000_000_007n,
      -1_999_999_993n,
      2n ** 33n * 1_000_000_000n + 7n,
    ]);
  });
  test("replace what has their name, and are not written through links", async () => {
    symlinkSync(join(outside, "precious"), join(root, "link"));
    mkdirSync(join(root, "dir"));
    writeFileSync(join(root, "dir/inside"), "x");
    await apply(directory("", { prune: true }));
    applySmall({ name: "link", text: "new" }, { name: "dir", text: "file" });
    await apply(leave);
    expect(readFileSync(join(root, "link"), "utf8")).toBe("new");
    expect(readFileSync(join(root, "dir"), "utf8")).toBe("file");
    expect(readdirSync(root).sort()).toEqual(["dir", "link"]);
  });
  test("have the group of a directory that gives it to what is in it, unless they have another", async () => {
    chmodSync(root, 0o2755);
    await apply(directory(""));
    applySmall({ name: "a", text: "a" }, { name: "b", text: "b" });
    expect(Number(stat("a").gid)).toBe(attributes.gid);
    expect(Number(stat("b").gid)).toBe(attributes.gid);
  });
  test("outside a directory or within a file are refused", async () => {
    expect(() => applySmall({ name: "a", text: "a" })).toThrow("outside the tree's root");
    await apply(directory(""), file("f", 1));
    expect(() => applySmall({ name: "a", text: "a" })).toThrow("within a file");
  });
  test("that can't be written are named", async () => {
    await apply(directory(""));
    rmSync(root, { recursive: true });
    expect(() => applySmall({ name: "a", text: "a" })).toThrow("ENOENT");
    expect(target.writer.where()).toBe("/a");
    mkdirSync(root);
  });
});

test("a writer that is given up lets go of everything it holds", async () => {
  const before = readdirSync("/proc/self/fd").length;
  await apply(directory(""), directory("a"), directory("b"), file("f", 1_000_000), chunk(0, "x".repeat(200_000)));
  expect(readdirSync("/proc/self/fd").length).toBe(before + 3);
  await target.writer.dispose();
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});
