/** With the real bulk thread, and a real source over TLS whose connections can be cut. */
import { fstatSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AddressSpaces } from "../../../services/pager/page-daemon/address-spaces.ts";
import { BulkLanes } from "../../../services/pager/page-daemon/bulk-lanes.ts";
import { PageFetch } from "../../../services/pager/page-daemon/page-fetch.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { PageSource } from "../../helpers/page-source.ts";

const secret = "5a".repeat(32);

let listener: DataListener;
let source: PageSource;
let bulk: BulkLanes;
let fetch: PageFetch;
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
    spaces: new AddressSpaces({
      ...{ watch: nothing, unwatch: nothing, lock: bulk.lock, onFault: nothing, onNear: nothing },
    }),
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
