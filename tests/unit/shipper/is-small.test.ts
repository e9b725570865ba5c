import { closeSync, ftruncateSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { isSmall, type OpenedFile } from "../../../services/shipper/adapters/entry-sender.ts";
import { statDescriptor } from "../../../services/shared/adapters/linux.ts";

const path = join(tmpdir(), `dmigrate-is-small-${process.pid}`);
const KiB = 1024;
let fd = -1;

function open(bytes: number, certain: boolean, names: Buffer[] = []): OpenedFile {
  writeFileSync(path, Buffer.alloc(bytes, 1));
  fd = openSync(path, "r+");
  const entry = { certain } as OpenedFile["entry"];
  return { fd, stat: statDescriptor(fd), names, entry, place: { directories: [], name: Buffer.from("f") } };
}
afterEach(() => {
  closeSync(fd);
  rmSync(path);
});

describe("a file goes as one record", () => {
  test.each([
    ["empty", 0, true, true],
    ["of the most bytes", 128 * KiB, true, true],
    ["of one more", 128 * KiB + 1, true, false],
    ["that may be written to", 64 * KiB, false, true],
    ["that may be written to, and is worth looking at by blocks", 64 * KiB + 1, false, false],
  ])("%s", (_what, bytes, certain, isOne) => {
    expect(isSmall(open(bytes, certain))).toBe(isOne);
  });

  test("but not one with attributes of its own, nor one with holes", () => {
    expect(isSmall(open(KiB, true, [Buffer.from("user.a")]))).toBe(false);
    closeSync(fd);
    const opened = open(KiB, true);
    ftruncateSync(fd, 100 * KiB);
    expect(isSmall({ ...opened, stat: statDescriptor(fd) })).toBe(false);
  });
});
