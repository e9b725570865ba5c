/** A source that knows the secret, and says on a page connection what none of ours would. */
import { writeSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PageLane, type PageRequest } from "../../../services/pager/page-daemon/page-lane.ts";
import {
  allocateFrame,
  frameHeaderBytes,
  frameOf,
  frameTypes,
  writeFrameHeader,
} from "../../../services/shared/core/frames/frame.ts";
import { keptPlaces } from "../../../services/shared/core/frames/kept-pages.ts";
import { encodeMemoryMap } from "../../../services/shared/core/frames/memory-map.ts";
import { marksBytes, writeMarks, type MarkedPage } from "../../../services/shared/core/frames/page-marks.ts";
import {
  bufferBytesOf,
  encodePageError,
  encodePages,
  pageBytes,
  pageErrorFlags,
  pageFlags,
} from "../../../services/shared/core/frames/page-message.ts";
import { packFrame } from "../../../services/shared/adapters/packed-pages.ts";
import { RecordSocket } from "../../../services/shared/link/record-socket.ts";
import { ciphersOf } from "../../../services/shared/link/connection.ts";
import { sealRecord } from "../../helpers/cipher-pair.ts";
import { socketPair, type SocketPair } from "../../helpers/socket-pair.ts";

let pair: SocketPair;
let source: RecordSocket;
let lane: PageLane;
let lost: string[];
let maps: number;
let found: number[];

const linkOver = (security: "tls" | "plain"): void => {
  pair = socketPair(security, 1 << 20);
  source = new RecordSocket(pair.connections[1], (bytes) => Buffer.allocUnsafeSlow(bytes));
  lane = new PageLane({
    onAnswer: ({ spans, payload }) => {
      for (const { at } of spans) if (typeof at === "number") found.push(payload.readUInt8(at + pageBytes - 1));
    },
    onRefused: () => undefined,
    onMap: () => {
      maps += 1;
    },
    onLost: (reason) => lost.push(reason),
    onFailure: () => undefined,
  });
  lane.use(pair.connections[0], 60_000);
};
beforeEach(() => {
  [lost, maps, found] = [[], 0, []];
});
afterEach(() => {
  lane.end();
  source.close();
  pair.closeAll();
});

const sayNotYet = (): void => {
  source.write(frameTypes.pageError, 1, encodePageError("not open yet"), pageErrorFlags.notYet);
  source.flush();
  lane.onReady();
};

test("what is to be asked again is not put off a second time before it is: the list would have no end", () => {
  linkOver("tls");
  lane.request({ pid: 1, page: 1, pages: 1, priority: 0, known: false, speculative: false });
  lane.flush();
  sayNotYet();
  expect(lost).toEqual([]);
  expect(lane.nextAt).toBeDefined();
  sayNotYet();
  expect(lost).toEqual([expect.stringContaining("was not asked")]);
});

test("what it tells of its pages is heard up to a bound, and passed over from then on", () => {
  linkOver("tls");
  const runs = Array.from({ length: 20_000 }, (_each, at) => ({ page: 2 * at, pages: 1 }));
  const [frame] = encodeMemoryMap({ pid: 1, runs });
  if (frame === undefined) throw new Error("no frame");
  const sent = 200;
  for (let at = 0; at < sent; at++) {
    source.write(frameTypes.memoryMap, 0, frame);
    source.flush();
    while (source.isWriting) {
      lane.onReady();
      source.flush();
    }
    lane.onReady();
  }
  expect(lost).toEqual([]);
  expect(maps).toBeGreaterThan(20);
  expect(maps).toBeLessThan(sent);
});

const ask = (request: Partial<PageRequest> = {}): void => {
  lane.request({ pid: 1, page: 1, pages: 8, priority: 3, known: false, speculative: false, ...request });
  lane.flush();
};

/** Says that the answer to a request has these marks; pages that it sends are filled with `value`. */
function answer(
  channel: number,
  marks: readonly MarkedPage[],
  { value = 7, sent = 0, pages = marks.length } = {},
): void {
  const frame = allocateFrame(4 + marksBytes(marks.length) + sent * pageBytes).fill(value, frameHeaderBytes);
  writeMarks(frame, frame.writeUInt32LE(pages, frameHeaderBytes), marks);
  source.write(frameTypes.pages, channel, frame, pageFlags.marked);
  source.flush();
  lane.onReady();
}

test("what it refers to is what it had this side keep, and nothing of a connection before", () => {
  linkOver("tls");
  for (let requests = 0; requests < 3; requests++) ask();
  answer(1, [{ page: 0, kind: "keep", place: 9 }], { value: 5, sent: 1 });
  answer(2, [{ page: 0, kind: "equal", place: 9 }]);
  expect(found).toEqual([5, 5]);
  expect(lost).toEqual([]);
  const next = socketPair("tls", 1 << 20);
  source.close();
  source = new RecordSocket(next.connections[1], (bytes) => Buffer.allocUnsafeSlow(bytes));
  lane.use(next.connections[0], 60_000);
  answer(3, [{ page: 0, kind: "equal", place: 9 }]);
  expect(lost).toEqual([expect.stringContaining("where none is kept")]);
  expect(found).toEqual([5, 5]);
  next.closeAll();
});

test.each([
  ["a page that is not kept", [{ page: 0, kind: "equal", place: 0 }], 0, "where none is kept"],
  ["a place beyond all", [{ page: 0, kind: "equal", place: keptPlaces }], 0, "where none is kept"],
  ["a page to be kept beyond all", [{ page: 0, kind: "keep", place: keptPlaces }], 1, "no place"],
  ["a page to be kept that it does not send", [{ page: 0, kind: "keep", place: 0 }], 0, "differ"],
  ["pages that it sends as well", [{ page: 0, kind: "keep", place: 0 }], 2, "differ"],
] as const)("an answer with marks that are wrong ends the connection: %s", (_what, marks, sent, why) => {
  linkOver("tls");
  ask();
  answer(1, marks, { sent });
  expect(lost).toEqual([expect.stringContaining(why)]);
  expect(found).toEqual([]);
});

test("an answer that somebody waits for has no marks", () => {
  linkOver("tls");
  ask({ priority: 0 });
  answer(1, [{ page: 0, kind: "keep", place: 0 }], { sent: 1 });
  expect(lost).toEqual([expect.stringContaining("not asked for one")]);
});

test.each([
  ["that is no zstd", Buffer.alloc(100, 7), "is broken"],
  ["of more than a frame can have", packFrame(allocateFrame(8 << 20).fill(0)).subarray(frameHeaderBytes), "is broken"],
  ["of nothing", packFrame(allocateFrame(0)).subarray(frameHeaderBytes), "too short"],
])("a compressed answer that is wrong ends the connection: %s", (_what, payload, why) => {
  linkOver("tls");
  ask();
  source.write(frameTypes.pages, 1, frameOf(payload), pageFlags.packed);
  source.flush();
  lane.onReady();
  expect(lost).toEqual([expect.stringContaining(why)]);
  expect(found).toEqual([]);
});

test("an answer that somebody waits for is not compressed", () => {
  linkOver("tls");
  ask({ priority: 0 });
  const { frame, flags } = encodePages(Buffer.alloc(bufferBytesOf(1), 1), 1);
  source.write(frameTypes.pages, 1, packFrame(frame), flags | pageFlags.packed);
  source.flush();
  lane.onReady();
  expect(lost).toEqual([expect.stringContaining("not asked for one")]);
});

test("pages that an answer refers to find room behind it, however many they are", () => {
  linkOver("tls");
  for (let requests = 0; requests < 3; requests++) ask({ pages: 64 });
  answer(1, [{ page: 0, kind: "keep", place: 3 }], { value: 5, sent: 1 });
  const marks = Array.from({ length: 63 }, (_each, page) => ({ page, kind: "equal" as const, place: 3 }));
  answer(2, marks, { sent: 1, pages: 64 });
  answer(3, [...marks, { page: 63, kind: "equal", place: 3 }]);
  expect(lost).toEqual([]);
  // The page that is sent comes last, and follows nothing in the memory.
  expect(found).toEqual([5, 5, 7, 5]);
});

test("an answer is alone in its record, so that memory that was kept is given back once", () => {
  linkOver("plain");
  const answers = [1, 2].map((channel) => {
    lane.request({ pid: 1, page: channel, pages: 1, priority: 3, known: false, speculative: false });
    const { frame, flags } = encodePages(Buffer.alloc(bufferBytesOf(1), 1), 1);
    writeFrameHeader(frame, { type: frameTypes.pages, flags, channel }, channel - 1);
    return frame;
  });
  lane.flush();
  const record = sealRecord(ciphersOf(pair.connections[1]).send, Buffer.concat(answers));
  expect(writeSync(pair.connections[1].fd, record)).toBe(record.length);
  lane.onReady();
  expect(lost).toEqual([expect.stringContaining("into one record")]);
  expect(found).toEqual([]);
});
