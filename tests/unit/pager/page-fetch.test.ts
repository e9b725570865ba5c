/** With the real bulk thread, and a real source over TLS whose connections can be cut. */
import { fstatSync } from "node:fs";
import { constants } from "node:os";
import koffi from "koffi";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AddressSpaces } from "../../../services/pager/page-daemon/address-spaces.ts";
import { BulkLanes } from "../../../services/pager/page-daemon/bulk-lanes.ts";
import { PageFetch } from "../../../services/pager/page-daemon/page-fetch.ts";
import { LinuxError } from "../../../services/shared/adapters/linux.ts";
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
import { canUserfault, openUserfaultRegion, useMemory } from "../../helpers/userfault-region.ts";

const secret = "5a".repeat(32);

let listener: DataListener;
let source: PageSource;
let bulk: BulkLanes;
let fetch: PageFetch;
let spaces: AddressSpaces;
let stop: AbortController;
/** The descriptors of the faults' connection, as they were told of. */
let urgent: (number | undefined)[];
/** Those that were closed by the time it was told that they are none any more. */
let closedBefore: number[];
let failures: Error[];
let taking: NodeJS.Timeout;

const isOpen = (fd: number): boolean => {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
};

beforeEach(async () => {
  [urgent, closedBefore, failures] = [[], [], []];
  stop = new AbortController();
  source = new PageSource(secret, undefined);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => source, createLog("test", "silent"));
  bulk = new BulkLanes();
  const nothing = (): void => undefined;
  const endpoint = { host: "127.0.0.1", port: listener.port };
  spaces = new AddressSpaces({
    ...{ watch: nothing, unwatch: nothing, lock: bulk.lock, onFault: nothing, onNear: nothing },
  });
  fetch = new PageFetch({
    start: {
      ...{
        migrationId: "m-0123456789abcdef",
        secret,
        source: endpoint,
        workDir: "/",
        whole: false,
        readers: 1,
        earlyBytes: 1 << 30,
      },
      ...{ windowBytes: 1 << 20, reconnectMs: 5_000 },
    },
    ...{ bulk, signal: stop.signal, hear: nothing, onProgress: nothing, onCached: nothing, onLink: nothing },
    spaces,
    onUrgent: (fd) => {
      const last = urgent.at(-1);
      if (fd === undefined && last !== undefined && !isOpen(last)) closedBefore.push(last);
      urgent.push(fd);
    },
    onFailure: (error) => failures.push(error),
  });
  await fetch.connect();
  taking = setInterval(() => fetch.takeUrgent(), 2);
});
afterEach(async () => {
  clearInterval(taking);
  stop.abort();
  await bulk.close();
  source.stop();
  await listener.close();
});

test("a lost faults' connection is told of before its descriptor may be another file's, and so is the next one", async () => {
  await expect.poll(() => source.connections.length, { timeout: 5_000 }).toBe(2);
  source.cut();
  await expect.poll(() => urgent.length, { timeout: 5_000 }).toBe(3);
  expect(urgent).toEqual([expect.any(Number), undefined, expect.any(Number)]);
  expect(closedBefore).toEqual([]);
  expect(isOpen(Number(urgent[2]))).toBe(true);
  expect(failures).toEqual([]);
});

test("while the source has nothing to give yet, nothing is to be tried before it is asked again", async () => {
  expect(fetch.retryMs).toBeUndefined();
  fetch.fault(1, 7);
  await expect.poll(() => fetch.retryMs, { interval: 5 }).toBeGreaterThan(100);
  expect(fetch.isWaiting).toBe(false);
  source.memory = numbered;
  await expect.poll(() => fetch.retryMs, { interval: 5 }).toBe(1);
  // The last millisecond may not be over.
  const askAgain = (): number => {
    fetch.askAgain();
    return source.stats.pagesSent;
  };
  await expect.poll(askAgain).toBe(1);
  expect(fetch.retryMs).toBeUndefined();
});

const wordOf = (page: number): number => page % 0x8000_0000;
/** Every page begins with its number. */
const numbered: PageReader = {
  read: ({ vaddr, pages }) => {
    const buffer = Buffer.alloc(bufferBytesOf(pages));
    const first = Number(vaddr) / pageBytes;
    for (let at = 0; at < pages; at++) buffer.writeUInt32LE(wordOf(first + at), pageDataOffset + at * pageBytes);
    return { ...encodePages(buffer, pages), release: () => undefined };
  },
};
const dup2 = koffi.load(null).func("int dup2(int, int)") as (...args: unknown[]) => number;

test.skipIf(!canUserfault())(
  "pages that the kernel refuses as it should not are told of once, cost no link, and are filled in once it takes them",
  async () => {
    const pages = 64;
    const notYetOpen = 500;
    const region = openUserfaultRegion(pages);
    source.memory = numbered;
    spaces.learn([{ pid: 1, ranges: [{ page: region.first, pages }] }]);
    spaces.adopt(1, notYetOpen);
    fetch.learn();
    spaces.finish();
    fetch.stage = "calm";
    fetch.pump();
    await expect
      .poll(() => failures, { timeout: 15_000 })
      .toMatchObject([
        {
          code: "restore-failed",
          message: expect.stringContaining("cannot be filled in: UFFDIO_COPY: EBADF") as string,
        },
      ]);
    expect(source.roles.toSorted()).toEqual(["faults", "pages"]);
    expect(spaces.empty).toBe(false);

    expect(dup2(region.fd, notYetOpen)).toBe(notYetOpen);
    await expect.poll(() => spaces.empty, { timeout: 5_000 }).toBe(true);
    const found = await useMemory([{ kind: "read", page: region.first, pages }]);
    expect(found).toEqual(Array.from({ length: pages }, (_, at) => wordOf(region.first + at)));
    expect(failures).toHaveLength(1);
  },
);

test.skipIf(!canUserfault())(
  "pages that could not be placed when they were asked for are filled in all the same, and none is counted for good",
  async () => {
    const pages = 64;
    const region = openUserfaultRegion(pages);
    source.memory = numbered;
    spaces.learn([{ pid: 1, ranges: [{ page: region.first, pages }] }]);
    spaces.adopt(1, region.fd);
    fetch.learn();
    spaces.finish();
    fetch.stage = "calm";
    const place = spaces.place.bind(spaces);
    let refused = 1;
    spaces.place = (...of) => {
      if (refused-- > 0) throw new LinuxError("read", constants.errno.EIO);
      return place(...of);
    };
    fetch.pump();
    await expect.poll(() => spaces.empty, { timeout: 5_000 }).toBe(true);
    const found = await useMemory([{ kind: "read", page: region.first, pages }]);
    expect(found).toEqual(Array.from({ length: pages }, (_, at) => wordOf(region.first + at)));
    expect(failures).toEqual([]);
  },
);
