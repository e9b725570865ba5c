/** Pages that are told by their place: over real TLS on loopback, through lost connections, and within bounds. */
import { createHash } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ReceivedPages } from "../../../services/pager/core/received-pages.ts";
import type { PageAnswer } from "../../../services/pager/page-daemon/page-lane.ts";
import { unpackPayload } from "../../../services/shared/adapters/packed-pages.ts";
import { FrameError, frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { marksBytes, writeMarks } from "../../../services/shared/core/frames/page-marks.ts";
import {
  bufferBytesOf,
  decodeSpans,
  encodePages,
  pageBytes,
  pageDataOffset,
  pageFlags,
} from "../../../services/shared/core/frames/page-message.ts";
import { PayloadPool } from "../../../services/shared/core/frames/payload-pool.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { PageReader } from "../../../services/shipper/serve-pages.ts";
import { linkLane, type LinkedLane } from "../../helpers/linked-lane.ts";
import { PageSource } from "../../helpers/page-source.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const blockPages = 64;

/** Of every four pages two are one of 150 that come again and again, one is zero, and one like no other. */
function pageAt(page: number): Buffer {
  if (page % 4 === 0) return Buffer.alloc(pageBytes);
  const seed = page % 4 === 1 ? `own ${page}` : `common ${page % 300}`;
  return Buffer.alloc(pageBytes, createHash("sha512").update(seed).digest());
}

const memory: PageReader = {
  read: ({ vaddr, pages }, repeats) => {
    const first = Number(vaddr) / pageBytes;
    const buffer = Buffer.alloc(bufferBytesOf(pages));
    for (let at = 0; at < pages; at++) pageAt(first + at).copy(buffer, pageDataOffset + at * pageBytes);
    return { ...encodePages(buffer, pages, undefined, repeats), release: () => undefined };
  },
};

let listener: DataListener;
let source: PageSource;
let stop: AbortController;
let lane: LinkedLane;
let wrong: number;
let right: number;

function check({ request, spans, payload }: PageAnswer): void {
  for (const { first, pages, at } of spans) {
    for (let page = 0; page < pages; page++) {
      const expected = pageAt(request.page + first + page);
      const from = typeof at === "number" ? at + page * pageBytes : 0;
      const got = at === "zero" ? Buffer.alloc(pageBytes) : payload.subarray(from, from + pageBytes);
      if (got.equals(expected)) right++;
      else wrong++;
    }
  }
}

beforeEach(async () => {
  [wrong, right] = [0, 0];
  stop = new AbortController();
  source = new PageSource(secret, memory);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => source, createLog("test", "silent"));
  lane = linkLane({
    ...{ migrationId, secret, source: { host: "127.0.0.1", port: listener.port }, role: "pages" },
    ...{ reconnectMs: 5_000, signal: stop.signal, onAnswer: check },
    onLink: () => undefined,
    onFailure: ({ message }) => {
      throw new Error(message);
    },
  });
  await lane.connect();
});
afterEach(async () => {
  stop.abort();
  source.stop();
  await listener.close();
});

const ask = (blocks: number, priority: 0 | 3): void => {
  for (let block = 0; block < blocks; block++)
    lane.request({
      ...{ pid: 1, page: block * blockPages, pages: blockPages, priority, known: false, speculative: false },
    });
};

test("they are what they were, and few of them travel more than twice", async () => {
  const pages = 60 * blockPages;
  ask(60, 3);
  await expect.poll(() => right + wrong, { timeout: 10_000 }).toBe(pages);
  expect(wrong).toBe(0);
  expect(source.stats.zeroPages).toBe(pages / 4);
  expect(source.stats.equalPages).toBeGreaterThan(0.9 * (pages / 2 - 2 * 150));
  expect(lane.bytesReceived).toBeLessThan((pages - source.stats.zeroPages - source.stats.equalPages + 20) * pageBytes);
});

test("they are what they were where answers are compressed too, and take far less of the link", async () => {
  const pages = 60 * blockPages;
  source.compresses = true;
  source.cut();
  ask(60, 3);
  await expect.poll(() => right + wrong, { timeout: 10_000 }).toBe(pages);
  expect(wrong).toBe(0);
  expect(source.stats.equalPages).toBeGreaterThan(0);
  // 64 bytes again and again are in each page.
  expect(lane.bytesReceived).toBeLessThan((pages * pageBytes) / 20);
});

test("they are what they were after a connection was lost: the next one begins with none", async () => {
  const blocks = 60;
  ask(blocks, 3);
  for (const part of [0.2, 0.4, 0.6, 0.8]) {
    await expect
      .poll(() => right + wrong, { timeout: 10_000, interval: 1 })
      .toBeGreaterThan(part * blocks * blockPages);
    source.cut();
  }
  await expect.poll(() => right + wrong, { timeout: 10_000 }).toBe(blocks * blockPages);
  expect(wrong).toBe(0);
  expect(source.roles.length).toBeGreaterThan(1);
  expect(source.stats.equalPages).toBeGreaterThan(0);
});

test("an answer that somebody waits for has its own pages", async () => {
  ask(20, 0);
  await expect.poll(() => right + wrong, { timeout: 10_000 }).toBe(20 * blockPages);
  expect(wrong).toBe(0);
  expect(source.stats.equalPages).toBe(0);
});

test("answers of one record have no more room together than there is", () => {
  const pages = new PayloadPool();
  const received = new ReceivedPages(pages, unpackPayload);
  const all = Array.from({ length: blockPages }, (_each, page) => ({ page, kind: "equal" as const, place: 0 }));
  const payloadBytes = 4 + marksBytes(blockPages);
  const record = pages.take(2 * payloadBytes);
  const frames = [0, payloadBytes].map((at) => {
    writeMarks(record, record.writeUInt32LE(blockPages, at), all);
    const payload = record.subarray(at, at + payloadBytes);
    return { type: frameTypes.pages, flags: pageFlags.marked, channel: 1, payload };
  });
  const opened = received.open(frames, record);
  opened.kept?.keep(0, Buffer.alloc(pageBytes, 3), 0);
  const decode = (at: number) => decodeSpans(opened.frames[at]?.payload ?? record, pageFlags.marked, 0, opened.kept);
  expect(decode(0).spans).toMatchObject([{ first: 0, pages: blockPages }]);
  expect(() => decode(1)).toThrow(FrameError);
});
