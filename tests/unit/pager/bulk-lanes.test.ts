/** With real threads, a real source over TLS, and memory of this process as that of the restored one. */
import { randomFillSync } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BulkAnswer, BulkFilled } from "../../../services/pager/page-daemon/bulk-lane.ts";
import { BulkLanes, unitPages } from "../../../services/pager/page-daemon/bulk-lanes.ts";
import type { BulkRequest } from "../../../services/pager/page-daemon/bulk-messages.ts";
import {
  bufferBytesOf,
  encodePages,
  pageBytes,
  pageDataOffset,
} from "../../../services/shared/core/frames/page-message.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { PageReader } from "../../../services/shipper/serve-pages.ts";
import { PageSource } from "../../helpers/page-source.ts";
import { canUserfault, openUserfaultRegion, useMemory, type UserfaultRegion } from "../../helpers/userfault-region.ts";

const secret = "5a".repeat(32);
const readers = 3;
const pages = readers * unitPages + 100;
const wordOf = (page: number): number => page % 0x8000_0000;

let listener: DataListener;
let transfer: PageSource;
let lanes: BulkLanes;
let region: UserfaultRegion;
let answers: BulkAnswer[];
let over: BulkFilled[];

/** Every page begins with its number; what follows does not shrink. */
const memory: PageReader = {
  read: ({ vaddr, pages: count }) => {
    const first = Number(vaddr) / pageBytes;
    const buffer = randomFillSync(Buffer.alloc(bufferBytesOf(count)));
    for (let at = 0; at < count; at++) buffer.writeUInt32LE(wordOf(first + at), pageDataOffset + at * pageBytes);
    return { ...encodePages(buffer, count), release: () => undefined };
  },
};

beforeEach(async () => {
  [answers, over] = [[], []];
  transfer = new PageSource(secret, memory);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => transfer, createLog("test", "silent"));
  region = openUserfaultRegion(pages);
  lanes = new BulkLanes();
  // Threads that come later go by what is known then.
  lanes.lock.exclusively(() => lanes.lock.renew());
  const source = { host: "127.0.0.1", port: listener.port };
  const link = { migrationId: "m-0123456789abcdef", secret, source, reconnectMs: 5_000 };
  await lanes.connect(link, readers, {
    onAnswer: (answer) => answers.push(answer),
    onFilled: (filled) => over.push(filled),
    onRefused: () => undefined,
    onMap: () => undefined,
    onLink: () => undefined,
    onFailure: (error) => {
      throw error;
    },
  });
});
afterEach(async () => {
  await lanes.close();
  transfer.stop();
  await listener.close();
});

const all = (): BulkRequest => ({
  ...{ pid: 1, ranges: [{ page: region.first, pages }], priority: 3 as const, known: false, speculative: false },
});
const placement = () => ({
  generation: lanes.lock.generation,
  places: [{ space: 5, fd: region.fd, page: region.first, image: region.first, pages }],
});
const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

describe.skipIf(!canUserfault())("several readers", () => {
  test("are asked for equal shares over connections of their own, and all that comes is filled in", async () => {
    lanes.request(all(), placement());
    await expect.poll(() => sum(over.map((each) => each.pages)), { timeout: 5_000 }).toBe(pages);
    expect(over).toHaveLength(readers);
    for (const each of over) expect(each.pages).toBeLessThanOrEqual(unitPages + 100);
    expect(sum(over.flatMap(({ filled }) => filled.map((each) => each.pages)))).toBe(pages);
    expect([...transfer.roles].sort()).toEqual(["pages", "pages-2", "pages-3"]);
    const found = await useMemory([{ kind: "read", page: region.first, pages }]);
    expect(found).toEqual(Array.from({ length: pages }, (_, at) => wordOf(region.first + at)));
    expect(answers).toEqual([]);
    expect(lanes.bytesReceived).toBeGreaterThan(pages * pageBytes);
  });

  test("fill in nothing by a placement that a change has made void", async () => {
    const before = placement();
    lanes.lock.exclusively(() => lanes.lock.renew());
    lanes.request(all(), before);
    await expect.poll(() => over.length, { timeout: 5_000 }).toBe(readers);
    expect(sum(answers.map((answer) => answer.pages))).toBe(pages);
    for (const { filled, rest } of answers) {
      expect(filled).toEqual([]);
      expect(rest).toBeDefined();
    }
  });
});
