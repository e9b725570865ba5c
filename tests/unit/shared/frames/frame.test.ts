import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allocateFrame,
  FrameError,
  frameHeaderBytes,
  frameOf,
  FrameReader,
  frameTypes,
  maxPayloadBytes,
  writeFrameHeader,
  type Frame,
} from "../../../../services/shared/core/frames/frame.ts";

function encode(frame: Frame, sequence: number): Buffer {
  const bytes = frameOf(frame.payload);
  writeFrameHeader(bytes, frame, sequence);
  return bytes;
}

/** As one record has them. */
const encodeAll = (frames: readonly Frame[], first = 0): Buffer =>
  Buffer.concat(frames.map((frame, index) => encode(frame, first + index)));

const frames: Frame[] = [
  { type: frameTypes.pageRequest, flags: 0, channel: 0, payload: Buffer.from([1, 0, 2]) },
  { type: frameTypes.jobEnd, flags: 0, channel: 7, payload: Buffer.alloc(0) },
  { type: frameTypes.pages, flags: 2, channel: 0xfffffffe, payload: Buffer.from("some pages") },
];

describe("a frame", () => {
  test("has the layout that its module's header says", () => {
    const [, , pages] = frames;
    if (pages === undefined) throw new Error("no frame");
    const expected = Buffer.from("0a000000" + "11" + "02" + "0000" + "feffffff" + "05000000", "hex");
    expect(encode(pages, 5)).toEqual(Buffer.concat([expected, Buffer.from("some pages")]));
  });

  test("comes out as it went in, however many are in a record", () => {
    for (let first = 0; first <= frames.length; first++) {
      const reader = new FrameReader();
      expect(reader.read(encodeAll(frames.slice(0, first)))).toEqual(frames.slice(0, first));
      expect(reader.read(encodeAll(frames.slice(first), first))).toEqual(frames.slice(first));
    }
  });

  test("leaves its payload where it came", () => {
    const record = encodeAll(frames);
    const [first] = new FrameReader().read(record);
    record.fill(0xee, frameHeaderBytes, frameHeaderBytes + 3);
    expect(first?.payload).toEqual(Buffer.alloc(3, 0xee));
  });

  test("of any content is read out of any records", () => {
    const frame = fc.record({
      type: fc.constantFrom(...Object.values(frameTypes)),
      flags: fc.nat(255),
      channel: fc.nat(0xffffffff),
      payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(fc.array(frame, { maxLength: 4 }), { maxLength: 4 }), (records) => {
        const reader = new FrameReader();
        let first = 0;
        for (const sent of records) {
          expect(reader.read(encodeAll(sent, first))).toEqual(sent);
          first += sent.length;
        }
      }),
    );
  });

  test("that is cut short is no frame, wherever it is cut", () => {
    const record = encodeAll(frames);
    // The first of these is before any frame; each other one is where a frame ends.
    const whole = new Set([0, 19, 35, 61]);
    for (let end = 0; end <= record.length; end++) {
      const read = (): unknown => new FrameReader().read(record.subarray(0, end));
      if (whole.has(end)) expect(read).not.toThrow();
      else expect(read).toThrow("a record ends within a frame");
    }
    expect(record.length).toBe(61);
  });
});

describe("bytes that are no frame", () => {
  const header = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = encode({ type: frameTypes.jobData, flags: 0, channel: 1, payload: Buffer.alloc(0) }, 0);
    change(bytes);
    return bytes;
  };
  test.each([
    ["a length beyond the most", header((bytes) => bytes.writeUInt32LE(maxPayloadBytes + 1, 0))],
    ["the largest length", header((bytes) => bytes.writeUInt32LE(0xffffffff, 0))],
    ["an unknown type", header((bytes) => bytes.writeUInt8(200, 4))],
    ["a type that was the greeting's", header((bytes) => bytes.writeUInt8(1, 4))],
    ["a reserved field in use", header((bytes) => bytes.writeUInt16LE(1, 6))],
    ["another sequence", header((bytes) => bytes.writeUInt32LE(1, 12))],
  ])("are refused: %s", (_what, bytes) => {
    expect(() => new FrameReader().read(bytes)).toThrow(FrameError);
  });

  test("are refused, a repeated frame, in one record or two", () => {
    const bytes = encode({ type: frameTypes.jobData, flags: 0, channel: 1, payload: Buffer.alloc(0) }, 0);
    const reader = new FrameReader();
    expect(() => reader.read(Buffer.concat([bytes, bytes]))).toThrow("frame 0 arrived where frame 1 was due");
    const next = new FrameReader();
    next.read(bytes);
    expect(() => next.read(bytes)).toThrow("frame 0 arrived where frame 1 was due");
  });

  test("of any kind end in FrameError or in nothing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new FrameReader().read(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });
});

test("a payload beyond the most is not sent", () => {
  const frame = allocateFrame(maxPayloadBytes + 1);
  expect(() => writeFrameHeader(frame, { type: frameTypes.jobData, flags: 0, channel: 0 }, 0)).toThrow(FrameError);
  expect(frame.length).toBe(frameHeaderBytes + maxPayloadBytes + 1);
});
