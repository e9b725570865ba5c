/** With the real thread, a real source over TLS, and memory of this process as that of the restored one. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  BulkLane,
  payloadOf,
  type BulkAnswer,
  type BulkFilled,
  type FillResult,
} from "../../../services/pager/page-daemon/bulk-lane.ts";
import type { BulkRequest } from "../../../services/pager/page-daemon/bulk-messages.ts";
import {
  bufferBytesOf,
  encodePages,
  encodeZeroPages,
  pageBytes,
  pageDataOffset,
} from "../../../services/shared/core/frames/page-message.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { PageReader } from "../../../services/shipper/serve-pages.ts";
import { PageSource } from "../../helpers/page-source.ts";
import { canUserfault, openUserfaultRegion, useMemory, type UserfaultRegion } from "../../helpers/userfault-region.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const pages = 64;
const noSuchDescriptor = 1_000_000;
const wordOf = (page: number): number => page % 0x8000_0000;

let listener: DataListener;
let lane: BulkLane;
let region: UserfaultRegion;
let answers: BulkAnswer[];
let over: BulkFilled[];
let take: (answer: BulkAnswer) => void;
let failures: Error[];
let links: (string | undefined)[];
let transfer: PageSource;

/** Every page begins with its number; from a million on all are zero. */
const memory: PageReader = {
  read: ({ vaddr, pages: count }) => {
    const release = (): void => undefined;
    const first = Number(vaddr) / pageBytes;
    const buffer = Buffer.alloc(bufferBytesOf(count));
    for (let at = 0; at < count; at++) buffer.writeUInt32LE(wordOf(first + at), pageDataOffset + at * pageBytes);
    return { ...(first < 100 ? encodeZeroPages(count) : encodePages(buffer, count)), release };
  },
};

const connect = (): Promise<void> =>
  lane.connect(
    { migrationId, secret, source: { host: "127.0.0.1", port: listener.port }, role: "pages", reconnectMs: 5_000 },
    {
      onAnswer: (answer) => take(answer),
      onFilled: (filled) => over.push(filled),
      onRefused: () => undefined,
      onMap: () => undefined,
      onLink: (lost) => links.push(lost),
      onFailure: (error) => failures.push(error),
    },
  );

beforeEach(async () => {
  [answers, over, links, failures] = [[], [], [], []];
  take = (answer) => answers.push(answer);
  transfer = new PageSource(secret, memory);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => transfer, createLog("test", "silent"));
  region = openUserfaultRegion(pages);
  lane = new BulkLane();
  await connect();
});

afterEach(async () => {
  await lane.close();
  transfer.stop();
  await listener.close();
});

const request = (page: number, count: number): BulkRequest => ({
  ...{ pid: 1, ranges: [{ page, pages: count }], priority: 3 as const, known: false, speculative: false },
});
const placeAt = (page: number, count: number, fd = region.fd) => ({
  generation: lane.lock.generation,
  places: [{ space: 5, fd, page, image: page, pages: count }],
});

test("an answer that was not placed is handed over, its contents in memory of both", async () => {
  lane.request(request(1_000, 3));
  await expect.poll(() => answers.length, { timeout: 5_000 }).toBe(1);
  const [answer] = answers;
  expect(answer).toMatchObject({ pages: 3, filled: [], request: { page: 1_000 } });
  const rest = answer?.rest;
  if (rest === undefined) throw new Error("nothing was handed over");
  const at = rest.spans[0]?.at;
  expect(payloadOf(rest).readUInt32LE(Number(at) + 2 * pageBytes)).toBe(wordOf(1_002));
  expect(lane.bytesReceived).toBeGreaterThan(3 * pageBytes);
  answer?.free();
  lane.request(request(0, 64));
  await expect.poll(() => answers.length, { timeout: 5_000 }).toBe(2);
  expect(answers[1]?.rest).toMatchObject({ spans: [{ pages: 64, at: "zero" }], memory: undefined });
  expect(over).toMatchObject([
    { pages: 0, filled: [] },
    { pages: 0, filled: [] },
  ]);
});

test("once it has let go of a source it serves another one, and hears nothing more of the first", async () => {
  transfer.isHeld = true;
  lane.request(request(1_000, 3));
  await lane.disconnect();
  transfer.isHeld = false;
  await connect();
  lane.request(request(2_000, 2));
  await expect.poll(() => answers.length, { timeout: 5_000 }).toBe(1);
  expect(transfer.roles).toEqual(["pages", "pages"]);
  expect(answers[0]).toMatchObject({ pages: 2, request: { page: 2_000 } });
  expect(lane.bytesReceived).toBeLessThan(3 * pageBytes);
  expect([links, failures]).toEqual([[], []]);
});

test("what is longer than a block is asked for and answered by blocks", async () => {
  lane.request({
    ...request(0, 0),
    ranges: [
      { page: 1_000, pages: 100 },
      { page: 2_000, pages: 1 },
    ],
  });
  await expect.poll(() => over.length, { timeout: 5_000 }).toBe(1);
  expect(answers.map(({ request: { page, pages: count } }) => [page, count])).toEqual([
    [1_000, 24],
    [1_024, 64],
    [1_088, 12],
    [2_000, 1],
  ]);
});

describe.skipIf(!canUserfault())("what was placed", () => {
  test("is filled in by the thread", async () => {
    lane.request(request(region.first, pages), placeAt(region.first, pages));
    await expect.poll(() => over.length, { timeout: 5_000 }).toBe(1);
    expect(over[0]).toMatchObject({ pages, filled: [{ space: 5, page: region.first, pages, isZero: false }] });
    expect(answers).toEqual([]);
    const found = await useMemory([{ kind: "read", page: region.first, pages }]);
    expect(found).toEqual(Array.from({ length: pages }, (_, at) => wordOf(region.first + at)));
  });

  test("before a change was heard is handed over instead", async () => {
    const placement = placeAt(region.first, pages);
    lane.lock.exclusively(() => lane.lock.renew());
    lane.request(request(region.first, pages), placement);
    await expect.poll(() => over.length, { timeout: 5_000 }).toBe(1);
    // Of a block each, wherever the region begins.
    expect(answers.reduce((sum, answer) => sum + answer.pages, 0)).toBe(pages);
    for (const answer of answers) {
      expect(answer).toMatchObject({ filled: [], generation: placement.generation });
      expect(answer.rest).toBeDefined();
    }
  });
});

/** By what this thread never says to it. */
function killThread(results: FillResult[], onResult = (result: FillResult): void => void results.push(result)): void {
  const payload = Buffer.from(new SharedArrayBuffer(pageBytes));
  const spans = undefined as unknown as [];
  lane.fill({ pid: 1, page: 7, pages: 1, spans, payload, provisional: false }, placeAt(7, 1), onResult);
}

test("pages that the kernel does not take are handed over, and cost neither the link nor the thread", async () => {
  lane.request(request(1_000, 3), placeAt(1_000, 3, noSuchDescriptor));
  const payload = Buffer.from(new SharedArrayBuffer(pageBytes));
  const run = { pid: 1, page: 7, pages: 1, spans: [{ first: 0, pages: 1, at: 0 }], payload, provisional: false };
  const results: FillResult[] = [];
  lane.fill(run, placeAt(7, 1, noSuchDescriptor), (result) => results.push(result));
  await expect.poll(() => results).toMatchObject([{ outcome: "hindered", filled: [] }]);
  await expect.poll(() => answers).toMatchObject([{ pages: 3, filled: [] }]);
  expect(answers[0]?.rest?.memory).toBeDefined();
  expect([links, failures, transfer.roles]).toEqual([[], [], ["pages"]]);
});

test("a thread that dies is replaced: it is asked again, and what it was filling in is left to its owner", async () => {
  transfer.memory = undefined;
  lane.request(request(1_000, 3));
  const results: FillResult[] = [];
  killThread(results);
  await expect.poll(() => results, { timeout: 5_000 }).toMatchObject([{ outcome: "hindered", filled: [] }]);
  transfer.memory = memory;
  await expect.poll(() => answers.map(({ request: { page } }) => page), { timeout: 5_000 }).toEqual([1_000]);
  expect(links.at(0)).toContain("the bulk thread failed");
  expect(links.at(-1)).toBeUndefined();
});

test("a thread that dies lets go of the source too, and the next one asks another source nothing of the first", async () => {
  transfer.memory = undefined;
  lane.request(request(1_000, 3));
  killThread([]);
  await lane.disconnect();
  transfer.memory = memory;
  await connect();
  lane.request(request(2_000, 2));
  await expect.poll(() => answers.map(({ request: { page } }) => page), { timeout: 5_000 }).toEqual([2_000]);
  expect([links, failures]).toEqual([[], []]);
});

test("a result of a thread that has died, that its owner cannot take, costs none of the others", async () => {
  const results: FillResult[] = [];
  killThread(results, () => {
    throw new Error("no room");
  });
  killThread(results);
  await expect.poll(() => results, { timeout: 5_000 }).toMatchObject([{ outcome: "hindered" }]);
  expect(failures).toMatchObject([{ message: expect.stringContaining("no room") as string }]);
});

test("the next thread looks for a source that is away just then, and fills in nothing that the last may have died of", async () => {
  const { port } = listener;
  await listener.close();
  transfer.cut();
  killThread([]);
  lane.request(request(2_000, 1), placeAt(2_000, 1, noSuchDescriptor));
  await expect
    .poll(() => links.some((lost) => lost?.includes("the bulk thread failed") === true), { timeout: 5_000 })
    .toBe(true);
  listener = await listenForData({ host: "127.0.0.1", port }, () => transfer, createLog("test", "silent"));
  await expect.poll(() => answers.map(({ request: { page } }) => page), { timeout: 5_000 }).toEqual([2_000]);
  expect(answers[0]?.rest).toBeDefined();
});

test("an answer that its owner cannot take costs none of the others", async () => {
  const { promise: taken, resolve } = Promise.withResolvers<number>();
  let isFirst = true;
  take = ({ request: { page } }) => {
    if (isFirst) {
      isFirst = false;
      throw new Error("no room");
    }
    resolve(page);
  };
  lane.request(request(1_000, 3));
  lane.request(request(2_000, 3));
  expect(await taken).toBe(2_000);
  expect(failures).toMatchObject([{ message: expect.stringContaining("no room") as string }]);
});
