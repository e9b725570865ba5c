/** Real TLS on loopback: however a connection is lost, the next one is made once. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PageDialer } from "../../../services/pager/page-daemon/page-dialer.ts";
import type { Connection } from "../../../services/shared/link/connection.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { PageSource } from "../../helpers/page-source.ts";
import { openDescriptors } from "../../helpers/socket-pair.ts";

const secret = "5a".repeat(32);
/** Longer than the pauses between a few tries. */
const longMs = 900;

let listener: DataListener;
let source: PageSource;
let handed: Connection[];
let take: () => void;
let told: (string | undefined)[];
let failures: Error[];
let stop: AbortController;
let dialer: PageDialer;

const start = async (reconnectMs: number): Promise<void> => {
  dialer = new PageDialer({
    ...{ migrationId: "m-0123456789abcdef", secret, role: "faults", reconnectMs, signal: stop.signal },
    source: { host: "127.0.0.1", port: listener.port },
    onConnection: (connection) => {
      handed.push(connection);
      take();
    },
    onLink: (lost) => told.push(lost),
    onFailure: (error) => failures.push(error),
  });
  await dialer.connect();
};

beforeEach(async () => {
  [handed, told, failures] = [[], [], []];
  take = () => undefined;
  stop = new AbortController();
  source = new PageSource(secret, undefined);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => source, createLog("test", "silent"));
});
afterEach(async () => {
  stop.abort();
  source.stop();
  await listener.close();
});

test("a connection that is said to be lost twice is made anew once", async () => {
  await start(5_000);
  await expect.poll(() => source.connections.length).toBe(1);
  const before = openDescriptors();
  void dialer.lost("first");
  void dialer.lost("second");
  await expect.poll(() => handed.length, { timeout: 3_000 }).toBe(2);
  await sleep(longMs);
  expect(handed).toHaveLength(2);
  expect(openDescriptors()).toBeLessThanOrEqual(before);
  expect(told).toEqual(["first", "second", undefined]);
});

test("one that is lost while it is handed over, and cannot be handed over, is followed by one other", async () => {
  await start(5_000);
  await expect.poll(() => source.connections.length).toBe(1);
  const before = openDescriptors();
  take = () => {
    if (handed.length > 3) return;
    void dialer.lost("at once");
    throw new Error("nobody takes it");
  };
  void dialer.lost("cut");
  await expect.poll(() => handed.length, { timeout: 3_000 }).toBe(4);
  await sleep(longMs);
  expect(handed).toHaveLength(4);
  expect(openDescriptors()).toBeLessThanOrEqual(before);
  expect(told).toEqual(["cut", "at once", "at once", undefined]);
});

test("a source that closes each connection at once stays away, as far as its asker is concerned", async () => {
  await start(250);
  take = () => void dialer.lost("at once");
  void dialer.lost("cut");
  await expect.poll(() => failures.length, { timeout: 3_000 }).toBe(1);
  expect(failures[0]?.message).toContain("closes each connection at once");
  expect(told).not.toContain(undefined);
});

test("a source that comes back after it was given up is used all the same", async () => {
  await start(250);
  const { port } = listener;
  await listener.close();
  void dialer.lost("cut");
  await expect.poll(() => failures.length, { timeout: 3_000 }).toBe(1);
  expect(failures[0]?.message).toContain("stayed away for 0.25 s");
  listener = await listenForData({ host: "127.0.0.1", port }, () => source, createLog("test", "silent"));
  await expect.poll(() => handed.length, { timeout: 5_000 }).toBe(2);
  expect(told).toEqual(["cut", undefined]);
  expect(failures).toHaveLength(1);
});

test("connections that are each lost soon after they were made are followed by others up to a bound", async () => {
  await start(500);
  const loseEach = setInterval(() => {
    if (told.at(-1) === undefined) void dialer.lost("nonsense came by it");
  }, 5);
  await expect.poll(() => failures.length, { timeout: 10_000 }).toBe(1);
  expect(failures[0]).toMatchObject({ code: "unavailable" });
  expect(failures[0]?.message).toContain("nonsense came by it");
  const made = handed.length;
  expect(made).toBeGreaterThan(10);
  await sleep(longMs);
  clearInterval(loseEach);
  expect([handed.length, failures.length]).toEqual([made, 1]);
});
