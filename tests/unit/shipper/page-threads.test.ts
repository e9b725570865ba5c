/** The threads as they run: real connections, handed over, and memory of this very process in place of a container's. */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PageAnswer, PageRequest } from "../../../services/pager/page-daemon/page-lane.ts";
import { ring } from "../../../services/shared/adapters/bell.ts";
import type { Endpoint } from "../../../services/shared/contracts/common.ts";
import { frameOf, frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { decodeMemoryMap, encodeMemoryMap, type MemoryMap } from "../../../services/shared/core/frames/memory-map.ts";
import { pageBytes } from "../../../services/shared/core/frames/page-message.ts";
import type { DmigrateError } from "../../../services/shared/errors.ts";
import { closeConnection } from "../../../services/shared/link/connection.ts";
import { dial, openLink } from "../../../services/shared/link/dial.ts";
import { encodePreamble } from "../../../services/shared/link/preamble.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type Attachable, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { PageRole } from "../../../services/shipper/page-thread/messages.ts";
import { startWorker } from "../../../services/shipper/page-thread/page-thread.ts";
import { PageThreads } from "../../../services/shipper/page-threads.ts";
import { linkLane, type LinkedLane } from "../../helpers/linked-lane.ts";
import { takeOwnMemory, type OwnMemory } from "../../helpers/own-memory.ts";
import { joining, openRelay, type Relay } from "../../helpers/relay.ts";
import { openDescriptors } from "../../helpers/socket-pair.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");
const pages = 128;
/** Of the threads that there are from the start. */
const pageRoles = ["faults", "pages"] as const;

interface Started {
  role: PageRole;
  worker: Worker;
  bell: number;
}

let workers: Started[];
/** How many threads are still to fail to start. */
let startsThatFail: number;
let threads: PageThreads;
let listener: DataListener;
let memory: OwnMemory;
let stop: AbortController;
let answers: { request: PageRequest; contents: Buffer }[];
let maps: MemoryMap[];
let told: (string | undefined)[];
let failures: DmigrateError[];
const transfers = new Map<string, Attachable>();
const relays: Relay[] = [];

beforeEach(async () => {
  [workers, answers, maps, told, failures] = [[], [], [], [], []];
  startsThatFail = 0;
  stop = new AbortController();
  threads = new PageThreads(log, (options) => {
    if (startsThatFail-- > 0) throw new Error("no room for a thread");
    const worker = startWorker(options);
    workers.push({ role: options.role, worker, bell: options.bell });
    return worker;
  });
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, (id) => transfers.get(id), log);
  memory = takeOwnMemory(pages);
  randomFillSync(memory.contents);
});
afterEach(async () => {
  stop.abort();
  for (const relay of relays.splice(0)) relay.close();
  transfers.clear();
  await listener.close();
  await threads.stop();
});

const source = (): Endpoint => ({ host: "127.0.0.1", port: listener.port });
function begin(security: "tls" | "plain" = "tls", id = migrationId, readers = 1): void {
  threads.begin(id, { readers });
  const attach: Attachable["attach"] = (role, connection) => {
    if (role === "files") throw new Error("no files here");
    threads.attach(id, role, connection);
  };
  transfers.set(id, { key: Buffer.from(secret, "hex"), security, attach });
}
const open = (): Promise<void> =>
  threads.open(migrationId, { containerId: memory.containerId, processes: [memory.process], provisional: false });

function laneOf(role: PageRole, security: "tls" | "plain" = "tls", at = source()): LinkedLane {
  return linkLane({
    migrationId,
    secret,
    source: at,
    role,
    security,
    reconnectMs: 3_000,
    signal: stop.signal,
    onAnswer: ({ request, spans, payload }: PageAnswer) => {
      const [span] = spans;
      if (typeof span?.at === "number")
        answers.push({ request, contents: Buffer.from(payload.subarray(span.at, span.at + span.pages * pageBytes)) });
    },
    onMap: (map) => maps.push(map),
    onLink: (lost) => told.push(lost),
    onFailure: (error) => failures.push(error),
  });
}

const request = (at: number, count: number, priority: 0 | 3): PageRequest => ({
  pid: memory.process.pid,
  page: memory.first + at,
  pages: count,
  priority,
  known: false,
  speculative: false,
});
const contentsOf = (at: number, count: number): Buffer =>
  memory.contents.subarray(at * pageBytes, (at + count) * pageBytes);

async function expectAnswer(at: number, count: number): Promise<void> {
  await expect.poll(() => answers.length, { timeout: 5_000 }).toBe(1);
  expect(answers.pop()?.contents.equals(contentsOf(at, count))).toBe(true);
  expect(failures).toEqual([]);
}

describe.each(["tls", "plain"] as const)("by %s", (security) => {
  test.each([
    ["pages", 3, 64],
    ["faults", 0, 1],
  ] as const)("%s come from the thread that serves them, once the memory is open", async (role, priority, count) => {
    begin(security);
    const lane = laneOf(role, security);
    await lane.connect();
    lane.request(request(5, count, priority));
    await sleep(50);
    expect(answers).toEqual([]);
    await open();
    await expectAnswer(5, count);
    const counters = threads.countersOf(migrationId);
    expect(counters.get(role)).toMatchObject({ pagesSent: count, zeroPages: 0, links: 1 });
    await expect.poll(() => threads.countersOf(migrationId).get(role)?.bytesSent).toBe(lane.bytesReceived);
  });

  test.each([
    ["pages", pages],
    ["faults", 64],
  ] as const)(
    "an answer to a request for many zero pages is no longer than its thread has time for (%s)",
    async (role, most) => {
      memory.contents.fill(0);
      begin(security);
      await open();
      const lane = laneOf(role, security);
      await lane.connect();
      lane.request(request(0, pages, 3));
      await expect.poll(() => threads.countersOf(migrationId).get(role)?.zeroPages).toBe(most);
    },
  );

  test.each(pageRoles)("what comes in one piece with the handshake is not lost (%s)", async (role) => {
    begin(security);
    await open();
    const relay = await openRelay({ to: listener.port, there: joining(20), back: joining(20) });
    relays.push(relay);
    const lane = laneOf(role, security, relay.endpoint);
    lane.request(request(0, 2, 3));
    await lane.connect();
    await expectAnswer(0, 2);
  });

  test("what the source tells at once, and often, comes whole", async () => {
    begin(security);
    const lane = laneOf("pages", security);
    await lane.connect();
    await expect.poll(() => threads.countersOf(migrationId).get("pages")?.links).toBe(1);
    const sent = Array.from({ length: 50 }, (_each, pid) => ({ pid, runs: [{ page: pid + 1, pages: 70 }] }));
    for (const map of sent) await threads.tell(migrationId, encodeMemoryMap(map));
    await expect.poll(() => maps.length).toBe(sent.length);
    expect(maps).toEqual(sent);
  });

  test("connections that are lost during the handshake or right after it cost nobody else anything", async () => {
    begin(security);
    begin(security, "m-fedcba9876543210");
    await open();
    const lane = laneOf("pages", security);
    await lane.connect();
    const before = openDescriptors();
    const strangers = Array.from({ length: 40 }, async (_each, at) => {
      const socket = connect(listener.port, "127.0.0.1").on("error", () => undefined);
      await once(socket, "connect");
      socket.write(encodePreamble({ security: at % 2 === 0 ? "tls" : "plain", role: "pages" }));
      if (at % 4 < 2) await sleep(1);
      socket.resetAndDestroy();
    });
    await Promise.all(strangers);
    for (let at = 0; at < 20; at++) {
      const abort = new AbortController();
      const options = { migrationId: "m-fedcba9876543210", secret, source: source(), signal: abort.signal };
      const dialling = dial({ ...options, role: at % 2 === 0 ? "pages" : "faults", security });
      if (at % 4 !== 0) setTimeout(() => abort.abort(), at);
      await dialling.then(closeConnection, () => undefined);
    }
    lane.request(request(9, 9, 3));
    await expectAnswer(9, 9);
    expect(told).toEqual([]);
    expect(workers).toHaveLength(2);
    await expect.poll(openDescriptors).toBeLessThanOrEqual(before);
  });
});

test("pages are held back while something more urgent needs the link, but for faults", async () => {
  begin();
  await open();
  const [lane, faults] = [laneOf("pages"), laneOf("faults")];
  await lane.connect();
  await faults.connect();
  threads.holdBack(migrationId, true);
  lane.request(request(5, 9, 3));
  faults.request(request(1, 1, 0));
  await expectAnswer(1, 1);
  await sleep(50);
  expect(answers).toEqual([]);
  threads.holdBack(migrationId, false);
  await expectAnswer(5, 9);
});

test("each reader has a thread and connections of its own, from the first transfer on that has so many", async () => {
  begin("tls", "m-fedcba9876543210");
  expect(workers.map(({ role }) => role)).toEqual(["faults", "pages"]);
  begin("tls", migrationId, 3);
  expect(workers.map(({ role }) => role)).toEqual(["faults", "pages", "pages-2", "pages-3"]);
  await open();
  for (const role of ["pages", "pages-2", "pages-3"] as const) {
    const lane = laneOf(role);
    await lane.connect();
    lane.request(request(3, 4, 3));
    await expectAnswer(3, 4);
    expect(threads.countersOf(migrationId).get(role)).toMatchObject({ pagesSent: 4, links: 1 });
  }
  threads.end(migrationId);
  expect(threads.countersOf(migrationId).size).toBe(0);
});

test("a connection of a reader that the transfer does not have is closed", async () => {
  begin("tls", migrationId, 2);
  begin("tls", "m-fedcba9876543210", 3);
  const lane = laneOf("pages-3");
  await lane.connect();
  await expect.poll(() => told.length).toBeGreaterThan(0);
  expect(threads.countersOf(migrationId).has("pages-3")).toBe(false);
});

test("a thread that dies after it was told of the memory, and before all were, is followed by one that knows it", async () => {
  await threads.stop();
  let isRoom = true;
  threads = new PageThreads(log, (options) => {
    if (options.role === "faults" && !isRoom) throw new Error("no room for a thread");
    const worker = startWorker(options);
    workers.push({ role: options.role, worker, bell: options.bell });
    return worker;
  });
  begin();
  isRoom = false;
  await end(workers.at(-2));
  const opening = open();
  await sleep(50);
  await end(workers.at(-1));
  await expect.poll(() => workers.length, { timeout: 5_000 }).toBe(5);
  isRoom = true;
  await opening;
  const lane = laneOf("pages");
  await lane.connect();
  lane.request(request(3, 4, 3));
  await expectAnswer(3, 4);
});

/** To terminate it within a system call would end this process too. */
async function end(started: Started | undefined): Promise<void> {
  if (started === undefined) throw new Error("there is no such thread");
  const { worker, bell } = started;
  worker.postMessage({ kind: "stop" });
  ring(bell);
  await once(worker, "exit");
}

describe("a thread that dies", () => {
  test.each(pageRoles)("(%s) is replaced, and the destination gets its pages from the next", async (role) => {
    begin();
    await open();
    const lane = laneOf(role);
    await lane.connect();
    lane.request(request(1, 1, 0));
    await expectAnswer(1, 1);

    await end(workers.find((each) => each.role === role));
    lane.request(request(7, 1, 0));
    await expectAnswer(7, 1);
    expect(told).toEqual([expect.any(String), undefined]);
    expect(workers.map((each) => each.role).sort()).toEqual([...pageRoles, role].sort());
    expect(threads.countersOf(migrationId).get(role)).toMatchObject({ pagesSent: 2, links: 1 });
  });

  test("leaves no connection waiting that was on its way to it", async () => {
    begin();
    await open();
    const before = openDescriptors();
    const ended = end(workers.find(({ role }) => role === "pages"));
    // It does not take what it is given now.
    const lane = laneOf("pages");
    await lane.connect();
    lane.request(request(2, 3, 3));
    await ended;
    await expectAnswer(2, 3);
    // It was closed with the thread, and made anew; or came so late that it was kept for the next thread.
    expect(told).toEqual(told.length === 0 ? [] : [expect.any(String), undefined]);
    // The one connection there is has an end here, and one there.
    await expect.poll(openDescriptors).toBeLessThanOrEqual(before + 2);
  });

  test("is replaced as soon as there is room for another, and nothing is lost meanwhile", async () => {
    begin();
    await open();
    const lane = laneOf("pages");
    await lane.connect();
    lane.request(request(1, 1, 3));
    await expectAnswer(1, 1);
    const before = openDescriptors();
    startsThatFail = 2;
    await end(workers.find(({ role }) => role === "pages"));
    lane.request(request(5, 2, 3));
    await expectAnswer(5, 2);
    expect(startsThatFail).toBeLessThan(0);
    await expect.poll(openDescriptors).toBeLessThanOrEqual(before);
  });

  test("takes no order with it, nor a transfer that begins while there is none", async () => {
    await end(workers[0]);
    begin();
    await open();
    const lane = laneOf("pages");
    await lane.connect();
    lane.request(request(3, 4, 3));
    await expectAnswer(3, 4);
  });
});

test("a process that is not the container's is refused, and no memory is open", async () => {
  begin();
  const stranger = { pid: 1, hostPid: process.ppid };
  const { containerId } = memory;
  const opening = threads.open(migrationId, { containerId, processes: [stranger], provisional: false });
  await expect(opening).rejects.toMatchObject({ code: "invalid-request" });
  const lane = laneOf("pages");
  await lane.connect();
  lane.request(request(0, 1, 3));
  await sleep(50);
  expect(answers).toEqual([]);
  await open();
  await expectAnswer(0, 1);
});

test("lost memory is told of", async () => {
  begin();
  await open();
  await threads.lose(migrationId, "they were killed");
  const lane = laneOf("faults");
  await lane.connect();
  lane.request(request(0, 1, 0));
  await expect.poll(() => failures.map(messageOf)).toEqual([expect.stringContaining("they were killed")]);
});
const messageOf = ({ message }: Error): string => message;

test("the end of a transfer closes its connections, and takes no new ones", async () => {
  begin();
  await open();
  const before = openDescriptors();
  const links = await Promise.all(
    pageRoles.map((role) =>
      openLink(
        { migrationId, secret, source: source(), role, signal: stop.signal },
        { onFrame: ({ payload }) => void maps.push(decodeMemoryMap(payload)) },
      ),
    ),
  );
  await expect.poll(() => pageRoles.map((role) => threads.countersOf(migrationId).get(role)?.links)).toEqual([1, 1]);
  threads.end(migrationId);
  for (const { closed } of links) expect(await closed).toBeInstanceOf(Error);
  await expect.poll(openDescriptors).toBeLessThanOrEqual(before);
  // Of the threads; the data port knows the transfer still.
  const late = await openLink(
    { migrationId, secret, source: source(), role: "pages", signal: stop.signal },
    { onFrame: () => undefined },
  );
  expect(await late.closed).toBeInstanceOf(Error);
  transfers.clear();
  await expect(laneOf("pages").connect()).rejects.toMatchObject({ code: "unauthorized" });
  await expect(open()).rejects.toMatchObject({ code: "not-found" });
});

test("a destination that connects again is served by the new connection, and the old one is closed", async () => {
  begin();
  await open();
  const old = await openLink(
    { migrationId, secret, source: source(), role: "pages", signal: stop.signal },
    { onFrame: () => undefined },
  );
  const lane = laneOf("pages");
  await lane.connect();
  lane.request(request(4, 2, 3));
  await expectAnswer(4, 2);
  expect(await old.closed).toBeInstanceOf(Error);
  expect(threads.countersOf(migrationId).get("pages")?.links).toBe(1);
});

test("what is no request ends its own connection, and none else", async () => {
  begin();
  await open();
  const lane = laneOf("pages");
  await lane.connect();
  const link = await openLink(
    { migrationId, secret, source: source(), role: "faults", signal: stop.signal },
    { onFrame: () => undefined },
  );
  link.write(frameTypes.jobData, 1, frameOf(Buffer.from("no request")));
  expect(await link.closed).toBeInstanceOf(Error);
  lane.request(request(4, 2, 3));
  await expectAnswer(4, 2);
  await expect.poll(() => threads.countersOf(migrationId).get("faults")?.links).toBe(0);
  expect(workers).toHaveLength(2);
});

test("after the stop there is no thread, and none comes", async () => {
  begin();
  const lane = laneOf("pages");
  await lane.connect();
  await threads.stop();
  // The connections are closed, and so is one that comes late.
  await expect.poll(() => told.length).toBeGreaterThan(0);
  stop.abort();
  const late = await openLink(
    { migrationId, secret, source: source(), role: "pages", signal: AbortSignal.timeout(5_000) },
    { onFrame: () => undefined },
  );
  expect(String(await late.closed)).toContain("the peer closed the connection");
  await sleep(300);
  // A worker that has ended has this number.
  expect(workers.map(({ worker }) => worker.threadId)).toEqual([-1, -1]);
});
