/** A source that knows the secret, and says on a page connection what none of ours would. */
import { writeSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PageLane } from "../../../services/pager/page-daemon/page-lane.ts";
import { frameTypes, writeFrameHeader } from "../../../services/shared/core/frames/frame.ts";
import { encodeMemoryMap } from "../../../services/shared/core/frames/memory-map.ts";
import {
  bufferBytesOf,
  encodePageError,
  encodePages,
  pageErrorFlags,
} from "../../../services/shared/core/frames/page-message.ts";
import { RecordSocket } from "../../../services/shared/link/record-socket.ts";
import { socketPair, type SocketPair } from "../../helpers/socket-pair.ts";

let pair: SocketPair;
let source: RecordSocket;
let lane: PageLane;
let lost: string[];
let maps: number;
let kept: Buffer[];

const linkOver = (security: "tls" | "plain"): void => {
  pair = socketPair(security, 1 << 20);
  source = new RecordSocket(pair.connections[1], (bytes) => Buffer.allocUnsafeSlow(bytes));
  lane = new PageLane({
    onAnswer: ({ payload, keep }) => {
      keep();
      kept.push(payload);
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
  [lost, maps, kept] = [[], 0, []];
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
  expect(maps).toBeGreaterThan(100);
  expect(maps).toBeLessThan(sent);
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
  const record = Buffer.concat([Buffer.alloc(4), ...answers]);
  record.writeUInt32LE(record.length - 4);
  expect(writeSync(pair.connections[1].fd, record)).toBe(record.length);
  lane.onReady();
  expect(lost).toEqual([expect.stringContaining("into one record")]);
  expect(kept).toEqual([]);
});
