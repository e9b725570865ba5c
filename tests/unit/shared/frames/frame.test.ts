import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allocateFrame,
  FrameDecoder,
  FrameError,
  frameHeaderBytes,
  frameOf,
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

function decodeIn(chunks: readonly Buffer[], decoder = new FrameDecoder()): Frame[] {
  return chunks.flatMap((chunk) => {
    decoder.feed(chunk);
    const frames: Frame[] = [];
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame);
    return frames;
  });
}

const cut = (bytes: Buffer, at: number): Buffer[] => [bytes.subarray(0, at), bytes.subarray(at)];

const frames: Frame[] = [
  { type: frameTypes.hello, flags: 0, channel: 0, payload: Buffer.from([1, 0, 2]) },
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

  test("comes out as it went in, wherever the bytes are cut", () => {
    const bytes = Buffer.concat(frames.map((frame, index) => encode(frame, index)));
    for (let at = 0; at <= bytes.length; at++) expect(decodeIn(cut(bytes, at))).toEqual(frames);
    expect(decodeIn([...bytes].map((byte) => Buffer.from([byte])))).toEqual(frames);
  });

  test("survives the reuse of its buffer once it was kept", () => {
    const bytes = Buffer.concat(frames.map((frame, index) => encode(frame, index)));
    const decoder = new FrameDecoder();
    decoder.feed(bytes);
    expect(decoder.next()).toEqual(frames[0]);
    decoder.keep();
    bytes.fill(0xff);
    expect([decoder.next(), decoder.next(), decoder.next()]).toEqual([frames[1], frames[2], undefined]);
  });

  test("of any content and any cut is decoded", () => {
    const frame = fc.record({
      type: fc.constantFrom(...Object.values(frameTypes)),
      flags: fc.nat(255),
      channel: fc.nat(0xffffffff),
      payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 5 }), fc.array(fc.nat(1_000)), (sent, offsets) => {
        const bytes = Buffer.concat(sent.map((each, index) => encode(each, index)));
        const cuts = [
          0,
          ...offsets.map((offset) => Math.min(offset, bytes.length)).sort((a, b) => a - b),
          bytes.length,
        ];
        const chunks = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
        expect(decodeIn(chunks)).toEqual(sent);
      }),
    );
  });

  test("that is cut short leaves the decoder waiting", () => {
    const decoder = new FrameDecoder();
    const bytes = encode({ type: frameTypes.jobData, flags: 0, channel: 1, payload: Buffer.alloc(10) }, 0);
    expect(decoder.idle).toBe(true);
    for (const byte of bytes.subarray(0, -1)) {
      expect(decodeIn([Buffer.from([byte])], decoder)).toEqual([]);
      expect(decoder.idle).toBe(false);
    }
    expect(decodeIn([bytes.subarray(-1)], decoder)).toHaveLength(1);
    expect(decoder.idle).toBe(true);
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
    ["a reserved field in use", header((bytes) => bytes.writeUInt16LE(1, 6))],
    ["another sequence", header((bytes) => bytes.writeUInt32LE(1, 12))],
  ])("are refused: %s", (_what, bytes) => {
    expect(() => decodeIn([bytes])).toThrow(FrameError);
  });

  test("are refused, a repeated frame", () => {
    const bytes = encode({ type: frameTypes.jobData, flags: 0, channel: 1, payload: Buffer.alloc(0) }, 0);
    expect(() => decodeIn([bytes, bytes])).toThrow("frame 0 arrived where frame 1 was due");
  });

  test("of any kind end in FrameError or in nothing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeIn([Buffer.from(bytes)]);
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
