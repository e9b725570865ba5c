import protobuf from "protobufjs";
import { describe, expect, it } from "vitest";
import { decodeMappings } from "../../../services/dumper/core/memory-map.ts";
import { plainMappings } from "../../../services/shared/core/plain-mappings.ts";
import { encodeImage } from "../../../services/shared/core/criu/image.ts";

const status = { regular: 1, vdso: 8, filePrivate: 64, fileShared: 128, anonymous: 512, vvar: 4096, guard: 65536 };
const flags = { shared: 1, private: 2, droppable: 8, anonymous: 0x20, locked: 0x2000, huge: 0x40000 };

/** An mm image with one mapping of two pages at page 16. */
function image(vmaStatus: number, vmaFlags: number): Buffer {
  const writer = protobuf.Writer.create();
  for (let field = 1; field <= 12; field++) writer.uint32(field << 3).uint32(field);
  writer.uint32((14 << 3) | 2).fork();
  const values = [16 * 4096, 18 * 4096, 0, 0, 3, vmaFlags >>> 0, vmaStatus >>> 0];
  values.forEach((value, index) => writer.uint32((index + 1) << 3).uint64(value));
  writer.uint32(8 << 3).sint64(-1);
  return encodeImage("mm", [writer.ldelim().finish()]);
}

describe("mappings of an mm image", () => {
  it.each([
    ["private anonymous memory", status.regular | status.anonymous, flags.private | flags.anonymous, true],
    ["a private file mapping", status.regular | status.filePrivate, flags.private, false],
    ["locked memory", status.regular | status.anonymous, flags.private | flags.anonymous | flags.locked, false],
    ["huge pages", status.regular | status.anonymous, flags.private | flags.anonymous | flags.huge, false],
  ])("dumps %s", (_, vmaStatus, vmaFlags, lazy) => {
    expect(decodeMappings(image(vmaStatus, vmaFlags))).toEqual([{ page: 16, end: 18, lazy }]);
  });

  it.each([
    ["a shared file mapping", status.regular | status.fileShared, flags.shared],
    ["the vDSO", status.regular | status.vdso | status.anonymous, flags.private | flags.anonymous],
    ["its data", status.regular | status.vvar | status.anonymous, flags.private | flags.anonymous],
    ["a guard region", status.guard, 0],
    ["droppable memory", status.regular | status.anonymous, flags.private | flags.anonymous | flags.droppable],
  ])("leaves out %s", (_, vmaStatus, vmaFlags) => {
    expect(decodeMappings(image(vmaStatus, vmaFlags))).toEqual([]);
  });

  it("refuses what is no mm image", () => {
    expect(() => decodeMappings(encodeImage("pagemap", []))).toThrow("no mm image");
    expect(() => decodeMappings(encodeImage("mm", []))).toThrow("empty");
  });
});

describe("mappings that CRIU leaves alone", () => {
  it("are private, anonymous and without code", () => {
    const maps = [
      "555555554000-555555575000 rw-p 00000000 00:00 0                          [heap]",
      "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ",
      "7f0000100000-7f0000200000 ---p 00000000 00:00 0",
      "7f0000200000-7f0000300000 rwxp 00000000 00:00 0 ",
      "7f0000300000-7f0000400000 rw-s 00000000 00:01 1024                       /dev/zero (deleted)",
      "7f0000400000-7f0000500000 rw-p 00001000 08:01 77                         /lib/libc.so.6",
      "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
      "",
    ].join("\n");
    expect(plainMappings(maps)).toEqual([
      { page: 0x555555554, end: 0x555555575 },
      { page: 0x7f0000000, end: 0x7f0000100 },
      { page: 0x7f0000100, end: 0x7f0000200 },
    ]);
  });
});
