import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readAttributes, timesOffset, type Attributes } from "../../../../services/shared/core/frames/attributes.ts";
import { FrameError, maxDataBytes } from "../../../../services/shared/core/frames/frame.ts";
import {
  chunkHeaderBytes,
  maxSameBytes,
  RecordReader,
  recordBytes,
  writeChunkHeader,
  writeRecord,
  type TreeRecord,
} from "../../../../services/shared/core/frames/tree-record.ts";
import { noSmallFile, smallHeadBytes, writeSmallHead } from "../../../../services/shared/core/frames/small-file.ts";

function encode(records: readonly TreeRecord[]): Buffer {
  return Buffer.concat(
    records.map((record) => {
      const bytes = Buffer.alloc(recordBytes(record));
      expect(writeRecord(bytes, 0, record)).toBe(bytes.length);
      return bytes;
    }),
  );
}

function* readRecords(payload: Buffer): Generator<TreeRecord, void, void> {
  for (const reader = new RecordReader(payload); !reader.done;) yield reader.record();
}

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const withoutNul = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.array(fc.integer({ min: 1, max: 255 }), { minLength, maxLength }).map((array) => Buffer.from(array));
const name = withoutNul(1, 255)
  .map((each) => Buffer.from(each.map((byte) => (byte === 0x2f ? 0x5f : byte))))
  .filter((each) => !/^\.{1,2}$/.test(each.toString("latin1")));
const time = fc.record({
  seconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  nanos: fc.nat(999_999_999),
});
const u32 = fc.nat(0xffffffff);
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const attributes = fc.record({ mode: u32, uid: u32, gid: u32, access: time, modify: time });
const record: fc.Arbitrary<TreeRecord> = fc.oneof(
  fc.record({ type: fc.constant("tree" as const), index: fc.nat(0xffff) }),
  fc.record({ type: fc.constant("directory" as const), name, attributes, fresh: fc.boolean(), prune: fc.boolean() }),
  fc.record({ type: fc.constantFrom("leave" as const, "fileEnd" as const) }),
  fc.record({ type: fc.constantFrom("file" as const, "patch" as const), name, attributes, size }),
  fc.record({ type: fc.constant("hole" as const), offset: size, length: size }),
  fc.record({ type: fc.constant("zeros" as const), offset: size, length: fc.nat(maxDataBytes) }),
  fc.record({ type: fc.constant("origin" as const), number: u32 }),
  fc.record({
    type: fc.constant("copy" as const),
    offset: size,
    length: fc.nat(maxDataBytes),
    number: u32,
    from: size,
  }),
  fc.record({
    type: fc.constant("same" as const),
    length: fc.nat(maxSameBytes),
    hash: bytes(32, 32),
    tree: fc.nat(0xffff),
    path: withoutNul(1, 100),
  }),
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
      attributes: {
        mode: 0o104755,
        uid: 1,
        gid: 2,
        access: { seconds: -1, nanos: 5 },
        modify: { seconds: 2 ** 33, nanos: 1 },
      },
    };
    const times = "f".repeat(16) + "0500000000000000" + "0000000002000000" + "0100000000000000";
    const hex = "04" + "0201000000000000" + "ed890000" + "01000000" + "02000000" + times;
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
    const epoch = { seconds: 0, nanos: 0 };
    const attributesOf = { mode: 0, uid: 0, gid: 0, access: epoch, modify: epoch };
    const directory = encode([
      { type: "directory", name: Buffer.alloc(0), attributes: attributesOf, fresh: false, prune: false },
    ]);
    directory[1] = 4;
    expect(() => [...readRecords(directory)]).toThrow(FrameError);
  });
  test.each([
    ["nanoseconds that are a second", 8, 1_000_000_000],
    ["the word for now", 8, 0x3fff_ffff],
    ["the word for no change", 24, 0x3fff_fffe],
    ["nanoseconds beyond 32 bits", 28, 1],
  ])("a time with %s", (_what, at, value) => {
    const epoch = { seconds: 0, nanos: 0 };
    const named = { name: Buffer.from("a"), attributes: { mode: 0, uid: 0, gid: 0, access: epoch, modify: epoch } };
    const file = encode([{ type: "file", ...named, size: 0 }]);
    file.writeUInt32LE(value, 9 + 12 + at);
    expect(() => [...readRecords(file)]).toThrow(FrameError);
    const small = encodeSmall({ ...named, data: Buffer.alloc(0) });
    small.writeUInt32LE(value, 5 + 12 + at);
    expect(() => readSmalls(small)).toThrow(FrameError);
  });
});

interface Small {
  name: Buffer;
  attributes: Attributes;
  data: Buffer;
}

function encodeSmall({ name, attributes, data }: Small): Buffer {
  const record = Buffer.alloc(smallHeadBytes(name.length) + data.length);
  expect(writeSmallHead(record, 0, name, attributes, data.length) + data.length).toBe(record.length);
  data.copy(record, record.length - data.length);
  return record;
}

function readSmalls(payload: Buffer): Small[] {
  const smalls: Small[] = [];
  const file = noSmallFile();
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  for (const reader = new RecordReader(payload); !reader.done;) {
    if (!reader.small(file)) throw new FrameError("no small file");
    const { nameAt, nameBytes, dataAt, dataBytes, timesAt } = file;
    expect(payload[nameAt + nameBytes]).toBe(0);
    smalls.push({
      name: payload.subarray(nameAt, nameAt + nameBytes),
      attributes: readAttributes(view, timesAt - timesOffset),
      data: payload.subarray(dataAt, dataAt + dataBytes),
    });
    expect(smalls.at(-1)?.attributes).toMatchObject({ mode: file.mode, uid: file.uid, gid: file.gid });
  }
  return smalls;
}

describe("small files", () => {
  const small = fc.record({ name, attributes, data: bytes(0, 50) });
  test("come out as they went in", () => {
    fc.assert(
      fc.property(fc.array(small, { maxLength: 10 }), (smalls) => {
        expect(readSmalls(Buffer.concat(smalls.map(encodeSmall)))).toEqual(smalls);
      }),
    );
  });
  test("cut anywhere are refused", () => {
    fc.assert(
      fc.property(small, fc.nat(), (one, at) => {
        const whole = encodeSmall(one);
        const end = at % whole.length;
        if (end > 0) expect(() => readSmalls(whole.subarray(0, end))).toThrow(FrameError);
      }),
    );
  });
  test.each([[""], ["."], [".."], ["/"], ["a/b"], ["../x"], ["a\0b"], ["\0"]])("of the name %j are refused", (text) => {
    const epoch = { seconds: 0, nanos: 0 };
    const named = { name: Buffer.from(text), attributes: { mode: 0, uid: 0, gid: 0, access: epoch, modify: epoch } };
    expect(() => readSmalls(encodeSmall({ ...named, data: Buffer.from("x") }))).toThrow(FrameError);
  });
  test("whose name does not end are refused", () => {
    const epoch = { seconds: 0, nanos: 0 };
    const named = { name: Buffer.from("a"), attributes: { mode: 0, uid: 0, gid: 0, access: epoch, modify: epoch } };
    const record = encodeSmall({ ...named, data: Buffer.from("x") });
    record[record.length - 2] = 0x62;
    expect(() => readSmalls(record)).toThrow("does not end");
  });
});
