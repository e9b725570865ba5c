/**
 * File systems at the destination that take no more. Disk quotas can't be had without mounting something, so what their
 * kernel answers is put in at the system calls, as Node and our own calls tell of it.
 */
import { randomBytes } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LinuxError } from "../../../services/shared/adapters/linux.ts";
import { hasErrno } from "../../../services/shared/errors.ts";
import { asNoRoom } from "../../../services/shipper/core/no-room.ts";
import { Spool } from "../../../services/shipper/adapters/spool.ts";
import { descriptorsIn } from "../../helpers/open-files.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { TreePasses } from "../../helpers/tree-passes.ts";
import { printTree } from "../../helpers/tree-print.ts";

type Refusal = "ENOSPC" | "EDQUOT" | "EFBIG";
/** While set, writes are answered with it. */
const disk = vi.hoisted((): { refusal: Refusal | undefined } => ({ refusal: undefined }));

/** As Node makes it: for EDQUOT it has no name. */
const nodeError = vi.hoisted(() => (code: string, number: number, call: string) => {
  const name = code === "EDQUOT" ? `Unknown system error -${number}` : code;
  return Object.assign(new Error(`${name}: ${name}, ${call}`), { code: name, errno: -number, syscall: call });
});

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const refused = (call: string): Error | undefined =>
    disk.refusal && nodeError(disk.refusal, constants.errno[disk.refusal], call);
  const writeSync = (...args: Parameters<typeof fs.writeSync>): number => {
    const error = refused("write");
    if (error !== undefined) throw error;
    return fs.writeSync(...args);
  };
  const writev = (...args: Parameters<typeof fs.writev>): void => {
    const error = refused("writev");
    if (error === undefined) fs.writev(...args);
    else setImmediate(() => (args[3] as unknown as (error: Error) => void)(error));
  };
  return { ...fs, writeSync, writev };
});
vi.mock("../../../services/shared/adapters/calls-by-address.ts", async (original) => {
  const calls = await original<typeof import("../../../services/shared/adapters/calls-by-address.ts")>();
  return {
    ...calls,
    writeFrom: (...args: Parameters<typeof calls.writeFrom>) => {
      if (disk.refusal !== undefined) throw new LinuxError("pwrite64", constants.errno[disk.refusal]);
      calls.writeFrom(...args);
    },
  };
});

const said: Record<Refusal, string> = {
  ENOSPC: "no room left for volume v: /file; make room",
  EDQUOT: "no disk quota left for volume v: /file (EDQUOT); raise the quota",
  EFBIG: "volume v: /file is larger than a file may be",
};

describe("a pass over files", () => {
  let trees: TreePasses;
  beforeEach(() => void (trees = new TreePasses()));
  afterEach(() => {
    disk.refusal = undefined;
    trees.close();
  });

  test.each(
    (["ENOSPC", "EDQUOT", "EFBIG"] as const).flatMap((refusal) => [
      { refusal, what: "a small file", bytes: 1_000, holeBytes: 0 },
      { refusal, what: "a file with a hole", bytes: 1_000, holeBytes: 1_000_000 },
      { refusal, what: "a large file", bytes: 1_000_000, holeBytes: 0 },
    ]),
  )("ends where the answer to $what is $refusal; nothing stays open, and the next one goes well", async (given) => {
    const { refusal, bytes, holeBytes } = given;
    writeFileSync(trees.inSource("file"), randomBytes(bytes));
    truncateSync(trees.inSource("file"), bytes + holeBytes);
    disk.refusal = refusal;
    await expect(trees.pass()).rejects.toMatchObject({
      code: "transfer-failed",
      message: expect.stringContaining(said[refusal]) as unknown,
    });
    expect(descriptorsIn(trees.target)).toEqual([]);
    disk.refusal = undefined;
    await trees.pass();
    expect(printTree(trees.target)).toEqual(printTree(trees.source));
  });
});

test("what comes ahead waits at the source where a quota leaves no room for it", async () => {
  const spool = (await Spool.open(temporaryDirectory("spool-"), { bytes: 1 << 20 })) as Spool;
  const handles = Object.getPrototypeOf(await (await import("node:fs/promises")).open("/dev/null")) as {
    write: (...args: unknown[]) => Promise<unknown>;
  };
  const write = vi.spyOn(handles, "write").mockRejectedValueOnce(nodeError("EDQUOT", 122, "write"));
  try {
    expect(await spool.add(Buffer.from("no"))).toBe(false);
    expect(await spool.add(Buffer.from("yes"))).toBe(true);
    for await (const frame of spool.takeAll()) expect(frame.toString()).toBe("yes");
  } finally {
    write.mockRestore();
    await spool.close();
  }
});

test("an error that Node has no name for is known by its number, and others are not taken for it", () => {
  const quota = nodeError("EDQUOT", constants.errno.EDQUOT, "write");
  expect(quota.code).not.toBe("EDQUOT");
  expect(hasErrno(quota, "ENOSPC", "EDQUOT")).toBe(true);
  expect(hasErrno(quota, "ENOSPC")).toBe(false);
  expect(hasErrno(new LinuxError("pwrite64", constants.errno.EDQUOT), "EDQUOT")).toBe(true);
  expect(hasErrno(Object.assign(new Error(), { code: "ERR_X", errno: 0 }), "nothing of that name")).toBe(false);
});

test("that inodes have run out is said where the file system shows it; what is no lack of room stays what it is", () => {
  const full = new LinuxError("openat", constants.errno.ENOSPC);
  expect(asNoRoom(full, "volume v: /f", () => "inodes")?.message).toMatch(/^no inodes left for volume v: \/f; remove/);
  expect(asNoRoom(full, "volume v: /f", () => "bytes")?.message).toMatch(/^no room left for volume v: \/f; make room/);
  expect(asNoRoom(new LinuxError("openat", constants.errno.EROFS), "x")).toBeUndefined();
});
