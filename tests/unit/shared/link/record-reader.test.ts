import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameError, frameHeaderBytes } from "../../../../services/shared/core/frames/frame.ts";
import { maxRecordBytes, recordBytesOf, recordHeadBytes } from "../../../../services/shared/core/frames/record.ts";
import { RecordReader } from "../../../../services/shared/link/record-reader.ts";
import { cipherPair, sealRecord } from "../../../helpers/cipher-pair.ts";

const allocate = (bytes: number): Buffer => Buffer.allocUnsafeSlow(bytes);

/** What the next records hold, as far as they have come. */
function readAll(reader: RecordReader, chunks: readonly Buffer[]): Buffer[] {
  const records: Buffer[] = [];
  for (const chunk of chunks) {
    reader.feed(chunk);
    for (let record = reader.next(); record !== undefined; record = reader.next()) records.push(record);
  }
  return records;
}

const headOf = (bytes: number): Buffer => {
  const head = Buffer.alloc(recordHeadBytes);
  head.writeUInt32LE(bytes);
  return head;
};

describe.each(["tls", "plain"] as const)("records of a connection by %s", (security) => {
  const sealed = (contents: readonly Buffer[]): { bytes: Buffer; reader: RecordReader } => {
    const [left, right] = cipherPair(security);
    return {
      bytes: Buffer.concat(contents.map((each) => sealRecord(left.send, each))),
      reader: new RecordReader(right.receive, allocate),
    };
  };
  const contents = [16, 17, 40].map((length) => randomBytes(length));

  test("come out as they went in, wherever the bytes are cut", () => {
    const { length } = sealed(contents).bytes;
    for (let at = 0; at <= length; at++) {
      const { bytes, reader } = sealed(contents);
      expect(readAll(reader, [bytes.subarray(0, at), bytes.subarray(at)])).toEqual(contents);
      expect(reader.idle).toBe(true);
    }
    const { bytes, reader } = sealed(contents);
    expect(
      readAll(
        reader,
        [...bytes].map((byte) => Buffer.from([byte])),
      ),
    ).toEqual(contents);
  });

  test("of any sizes and cuts are read", () => {
    const sizes = fc.array(fc.integer({ min: frameHeaderBytes, max: 700 }), { maxLength: 5 });
    fc.assert(
      fc.property(sizes, fc.array(fc.nat(4_000)), (lengths, offsets) => {
        const sent = lengths.map((length) => randomBytes(length));
        const { bytes, reader } = sealed(sent);
        const ends = offsets.map((offset) => Math.min(offset, bytes.length)).sort((a, b) => a - b);
        const cuts = [0, ...ends, bytes.length];
        const chunks = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
        expect(readAll(reader, chunks)).toEqual(sent);
      }),
    );
  });

  test("may be as long as a record can be", () => {
    const sent = [randomBytes(maxRecordBytes)];
    const { bytes, reader } = sealed(sent);
    const got = readAll(reader, [bytes.subarray(0, 70_000), bytes.subarray(70_000)]);
    expect(got).toHaveLength(1);
    expect(got[0]?.equals(sent[0] ?? Buffer.alloc(0))).toBe(true);
  });

  test("survive the reuse of their buffer once it was kept", () => {
    const { bytes, reader } = sealed(contents);
    reader.feed(bytes);
    expect(reader.next()).toEqual(contents[0]);
    reader.keep();
    bytes.fill(0xff);
    expect([reader.next(), reader.next(), reader.next()]).toEqual([contents[1], contents[2], undefined]);
  });

  test("that are cut short leave the reader waiting, and it says so", () => {
    const { bytes, reader } = sealed(contents.slice(2));
    expect(reader.idle).toBe(true);
    for (const byte of bytes.subarray(0, -1)) {
      expect(readAll(reader, [Buffer.from([byte])])).toEqual([]);
      expect(reader.idle).toBe(false);
    }
    expect(readAll(reader, [bytes.subarray(-1)])).toEqual(contents.slice(2));
    expect(reader.idle).toBe(true);
  });
});

describe("what is no record", () => {
  test.each([0, 1, frameHeaderBytes - 1, maxRecordBytes + 1, 0xffffffff])("is refused by its head: %i", (bytes) => {
    expect(() => recordBytesOf(headOf(bytes))).toThrow(FrameError);
    const [, right] = cipherPair();
    const asked: number[] = [];
    const reader = new RecordReader(right.receive, (size) => {
      asked.push(size);
      return allocate(size);
    });
    expect(() => readAll(reader, [headOf(bytes), Buffer.alloc(100)])).toThrow(FrameError);
    // Nobody makes this side take memory for it.
    expect(asked).toEqual([]);
  });

  test("is refused where its tag shows it", () => {
    const [left, right] = cipherPair();
    const bytes = sealRecord(left.send, randomBytes(40));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    const reader = new RecordReader(right.receive, allocate);
    expect(() => readAll(reader, [bytes])).toThrow(new FrameError("a record was changed on its way"));
  });

  test("is refused where its length was changed", () => {
    const [left, right] = cipherPair();
    const bytes = sealRecord(left.send, randomBytes(40));
    bytes.writeUInt32LE(39);
    const reader = new RecordReader(right.receive, allocate);
    expect(() => readAll(reader, [bytes])).toThrow(FrameError);
  });

  test("is what was repeated, or came out of its order", () => {
    for (const order of [
      [0, 0],
      [1, 0],
    ]) {
      const [left, right] = cipherPair();
      const records = [1, 2].map((fill) => sealRecord(left.send, Buffer.alloc(20, fill)));
      const reader = new RecordReader(right.receive, allocate);
      expect(() =>
        readAll(
          reader,
          order.flatMap((at) => records[at] ?? []),
        ),
      ).toThrow(FrameError);
    }
  });
});

test("the smallest and the largest records are what their heads may say", () => {
  for (const bytes of [frameHeaderBytes, maxRecordBytes]) expect(recordBytesOf(headOf(bytes))).toBe(bytes);
});
