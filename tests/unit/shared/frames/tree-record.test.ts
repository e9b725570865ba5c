import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameError, maxDataBytes } from "../../../../services/shared/core/frames/frame.ts";
import {
  chunkHeaderBytes,
  readRecords,
  recordBytes,
  writeChunkHeader,
  writeRecord,
  type TreeRecord,
} from "../../../../services/shared/core/frames/tree-record.ts";

function encode(records: readonly TreeRecord[]): Buffer {
  return Buffer.concat(
    records.map((record) => {
      const bytes = Buffer.alloc(recordBytes(record));
      expect(writeRecord(bytes, 0, record)).toBe(bytes.length);
      return bytes;
    }),
  );
}

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const withoutNul = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.array(fc.integer({ min: 1, max: 255 }), { minLength, maxLength }).map((array) => Buffer.from(array));
const name = withoutNul(1, 255)
  .map((each) => Buffer.from(each.map((byte) => (byte === 0x2f ? 0x5f : byte))))
  .filter((each) => !/^\.{1,2}$/.test(each.toString("latin1")));
const ns = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
const u32 = fc.nat(0xffffffff);
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const attributes = fc.record({ mode: u32, uid: u32, gid: u32, accessNs: ns, modifyNs: ns });
const record: fc.Arbitrary<TreeRecord> = fc.oneof(
  fc.record({ type: fc.constant("tree" as const), index: fc.nat(0xffff), expectedBytes: size }),
  fc.record({ type: fc.constant("directory" as const), name, attributes, fresh: fc.boolean(), prune: fc.boolean() }),
  fc.record({ type: fc.constantFrom("leave" as const, "fileEnd" as const) }),
  fc.record({ type: fc.constantFrom("file" as const, "patch" as const), name, attributes, size }),
  fc.record({ type: fc.constant("hole" as const), offset: size, length: size }),
  fc.record({ type: fc.constant("zeros" as const), offset: size, length: fc.nat(maxDataBytes) }),
  fc.record({ type: fc.constant("chunk" as const), offset: size, bytes: bytes(0, 50) }),
  fc.record({ type: fc.constant("symlink" as const), name, attributes, target: withoutNul(1, 100) }),
  fc.record({ type: fc.constant("node" as const), name, attributes, major: u32, minor: u32 }),
  fc.record({ type: fc.constant("link" as const), name, path: withoutNul(1, 100) }),
  fc.record({ type: fc.constant("remove" as const), name }),
  fc.record({ type: fc.constant("attribute" as const), name: withoutNul(1, 255), value: bytes(0, 50) }),
);

describe("records", () => {
  test("come out as they went in", () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 10 }), (records) => {
        expect([...readRecords(encode(records))]).toEqual(records);
      }),
    );
  });

  test("have the layout that the module's header says", () => {
    const file: TreeRecord = {
      type: "file",
      name: Buffer.from([0xff, 0x61]),
      size: 258,
      attributes: { mode: 0o104755, uid: 1, gid: 2, accessNs: -1n, modifyNs: 1n },
    };
    const hex = "04" + "0201000000000000" + "ed890000" + "01000000" + "02000000" + "f".repeat(16) + "0100000000000000";
    expect(encode([file]).toString("hex")).toBe(`${hex}0200ff61`);
    expect(encode([{ type: "remove", name: Buffer.from("x") }]).toString("hex")).toBe("0a010078");
  });

  test("a chunk read into place is the same chunk", () => {
    const chunk: TreeRecord = { type: "chunk", offset: 5, bytes: Buffer.from("abc") };
    const placed = Buffer.alloc(recordBytes(chunk));
    expect(writeChunkHeader(placed, 0, 5, 3)).toBe(chunkHeaderBytes);
    placed.write("abc", chunkHeaderBytes);
    expect(placed).toEqual(encode([chunk]));
  });

  test("cut anywhere are refused", () => {
    fc.assert(
      fc.property(record, fc.nat(), (one, at) => {
        const whole = encode([one]);
        const end = at % whole.length;
        if (end > 0) expect(() => [...readRecords(whole.subarray(0, end))]).toThrow(FrameError);
      }),
    );
  });

  test("that are none end in FrameError or in nothing", () => {
    fc.assert(
      fc.property(bytes(0, 200), (junk) => {
        try {
          for (const each of readRecords(junk)) expect(each.type).toBeTypeOf("string");
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });
});

describe("a hostile record is refused", () => {
  const named = (text: string): TreeRecord => ({ type: "remove", name: Buffer.from(text, "latin1") });
  test.each([[""], ["."], [".."], ["/"], ["/etc"], ["a/b"], ["../x"], ["a\0b"], ["\0"], ["x".repeat(256)]])(
    "name %j",
    (text) => {
      expect(() => [...readRecords(encode([named(text)]))]).toThrow(FrameError);
    },
  );
  test.each([["..."], [" "], ["x".repeat(255)], ["\xff\n"]])("but not name %j", (text) => {
    expect([...readRecords(encode([named(text)]))]).toEqual([named(text)]);
  });
  test("a negative or enormous size", () => {
    const chunk = encode([{ type: "chunk", offset: 0, bytes: Buffer.alloc(0) }]);
    for (const value of [1n << 63n, (1n << 64n) - 1n, 1n << 53n]) {
      chunk.writeBigUInt64LE(value, 1);
      expect(() => [...readRecords(chunk)]).toThrow(FrameError);
    }
  });
  test("a length beyond the frame", () => {
    const chunk = encode([{ type: "chunk", offset: 0, bytes: Buffer.alloc(10) }]);
    for (const length of [11, maxDataBytes + 1, 0xffffffff]) {
      chunk.writeUInt32LE(length, 9);
      expect(() => [...readRecords(chunk)]).toThrow(FrameError);
    }
  });
  test("directory flags that are not known", () => {
    const attributesOf = { mode: 0, uid: 0, gid: 0, accessNs: 0n, modifyNs: 0n };
    const directory = encode([
      { type: "directory", name: Buffer.alloc(0), attributes: attributesOf, fresh: false, prune: false },
    ]);
    directory[1] = 4;
    expect(() => [...readRecords(directory)]).toThrow(FrameError);
  });
});
