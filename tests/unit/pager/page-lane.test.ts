/** Real TLS on loopback; a source that answers out of a made-up memory, and whose connections can be cut. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PageAnswer } from "../../../services/pager/page-daemon/page-lane.ts";
import { encodeZeroPages } from "../../../services/shared/core/frames/page-message.ts";
import type { DmigrateError } from "../../../services/shared/errors.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { PageReader } from "../../../services/shipper/serve-pages.ts";
import { linkLane, type LinkedLane } from "../../helpers/linked-lane.ts";
import { joining, openRelay } from "../../helpers/relay.ts";
import { PageSource } from "../../helpers/page-source.ts";
import { openDescriptors } from "../../helpers/socket-pair.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);

let listener: DataListener;
let source: PageSource;
let answers: PageAnswer["request"][];
let told: (string | undefined)[];
let failures: DmigrateError[];
let stop: AbortController;
let lane: LinkedLane;

const zeros = (pages: number) => ({ ...encodeZeroPages(pages), release: () => undefined });
const memory: PageReader = {
  read: ({ pid, pages }) => {
    if (pid !== 1) throw new Error(`process ${pid} has no readable memory`);
    return zeros(pages);
  },
};

beforeEach(async () => {
  [answers, told, failures] = [[], [], []];
  stop = new AbortController();
  source = new PageSource(secret, memory);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => source, createLog("test", "silent"));
  lane = linkLane({
    migrationId,
    secret,
    source: { host: "127.0.0.1", port: listener.port },
    role: "pages",
    reconnectMs: 300,
    signal: stop.signal,
    onAnswer: ({ request }) => void answers.push(request),
    onLink: (lost) => told.push(lost),
    onFailure: (error) => failures.push(error),
  });
  await lane.connect();
  await expect.poll(() => source.connections.length).toBe(1);
});
afterEach(async () => {
  stop.abort();
  source.stop();
  await listener.close();
});

const request = (page: number) => ({ pid: 1, page, pages: 3, priority: 3, known: false, speculative: false }) as const;

test("what was asked on a link that is lost is asked again on the next", async () => {
  source.isHeld = true;
  lane.request(request(1));
  lane.request(request(9));
  await sleep(20);
  source.cut();
  lane.request(request(20));
  source.isHeld = false;
  await expect.poll(() => answers.map(({ page }) => page)).toEqual([1, 9, 20]);
  expect(source.roles).toEqual(["pages", "pages"]);
  expect(told).toEqual([expect.any(String), undefined]);
  expect(failures).toEqual([]);
  expect(lane.bytesReceived).toBeGreaterThan(0);
});

test("a source that stays away is told of, once", async () => {
  await listener.close();
  source.cut();
  await expect.poll(() => failures.length, { timeout: 5_000 }).toBe(1);
  expect(failures[0]).toMatchObject({ code: "unavailable" });
});

test("a source whose memory is not open yet is asked again, and its answer is taken", async () => {
  source.memory = undefined;
  lane.request(request(1));
  lane.request({ ...request(9), priority: 0 });
  setTimeout(() => (source.memory = memory), 50);
  await expect.poll(() => answers.map(({ page }) => page).sort(), { timeout: 2_000 }).toEqual([1, 9]);
  expect(failures).toEqual([]);
});

test("a source whose memory stays closed is told of once the time is over", async () => {
  source.memory = undefined;
  lane.request(request(1));
  await expect.poll(() => failures.map(({ code }) => code), { timeout: 2_000 }).toEqual(["transfer-failed"]);
  expect(failures[0]?.message).toContain("not open yet");
});

test("a page that the source does not have is not asked for again", async () => {
  lane.request({ ...request(1), pid: 2 });
  await expect.poll(() => failures.length).toBe(1);
  expect(failures[0]?.message).toContain("no readable memory");
});

test("many small answers that come in one piece are all taken at once: the system tells of none of them again", async () => {
  const relay = await openRelay({ to: listener.port, back: joining(50) });
  const joined = linkLane({
    ...{ migrationId, secret, role: "pages" as const, reconnectMs: 300, signal: stop.signal, source: relay.endpoint },
    onAnswer: ({ request: { page } }) => void pages.push(page),
    onLink: (lost) => told.push(lost),
    onFailure: (error) => failures.push(error),
  });
  const pages: number[] = [];
  await joined.connect();
  for (let page = 0; page < 30; page++) joined.request(request(page));
  await expect.poll(() => pages.length, { timeout: 5_000 }).toBe(30);
  expect(told).toEqual([]);
  relay.close();
});

test("many requests are answered each once, more than the source lets wait among them", async () => {
  const count = 9_000;
  source.isHeld = true;
  for (let page = 0; page < count; page++) lane.request(request(page));
  await sleep(50);
  source.isHeld = false;
  await expect.poll(() => answers.length, { timeout: 10_000 }).toBe(count);
  expect(answers.map(({ page }) => page)).toEqual(Array.from({ length: count }, (_each, page) => page));
  expect(source.stats.pagesSent).toBe(3 * count);
  expect(lane.bytesReceived).toBe(source.stats.bytesSent);
});

test("a link that is lost again and again leaves no descriptor", async () => {
  const before = openDescriptors();
  for (let round = 0; round < 5; round++) {
    source.cut();
    lane.request(request(round));
    await expect.poll(() => answers.length, { timeout: 3_000 }).toBe(round + 1);
  }
  expect(told.filter((each) => each === undefined)).toHaveLength(5);
  await expect.poll(openDescriptors).toBeLessThanOrEqual(before);
});
