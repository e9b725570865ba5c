/** The threads as they run: real connections, handed over, and memory of this very process in place of a container's. */
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { PageLane, type PageAnswer, type PageRequest } from "../../../services/pager/page-daemon/page-lane.ts";
import type { Endpoint } from "../../../services/shared/contracts/common.ts";
import { frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { encodeHello, pageBytes } from "../../../services/shared/core/frames/page-message.ts";
import type { DmigrateError } from "../../../services/shared/errors.ts";
import { openLink } from "../../../services/shared/link/dial.ts";
import { openFedLink } from "../../../services/shared/link/framed.ts";
import { connectPlain } from "../../../services/shared/link/plain-psk.ts";
import { encodePreamble, preambleBytes } from "../../../services/shared/link/preamble.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { pageRoles, type PageRole } from "../../../services/shipper/page-thread/messages.ts";
import { startWorker } from "../../../services/shipper/page-thread/page-thread.ts";
import { PageThreads } from "../../../services/shipper/page-threads.ts";
import { takeOwnMemory, type OwnMemory } from "../../helpers/own-memory.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");
const pages = 128;

let workers: { role: PageRole; worker: Worker }[];
let threads: PageThreads;
let listener: DataListener;
let memory: OwnMemory;
let stop: AbortController;
let answers: { request: PageRequest; contents: Buffer }[];
let told: (string | undefined)[];
let failures: DmigrateError[];
const servers: Server[] = [];

beforeEach(async () => {
  [workers, answers, told, failures] = [[], [], [], []];
  stop = new AbortController();
  threads = new PageThreads(log, (options) => {
    const worker = startWorker(options);
    workers.push({ role: options.role, worker });
    return worker;
  });
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => undefined, log, threads.takeAway);
  memory = takeOwnMemory(pages);
  randomFillSync(memory.contents);
});
afterEach(async () => {
  stop.abort();
  for (const server of servers.splice(0)) server.close();
  await listener.close();
  await threads.stop();
});

const source = (): Endpoint => ({ host: "127.0.0.1", port: listener.port });
const begin = (security: "tls" | "plain" = "tls"): void => threads.begin({ migrationId, secret, security });
const open = (): Promise<void> =>
  threads.open(migrationId, { containerId: memory.containerId, processes: [memory.process], provisional: false });

function laneOf(role: PageRole, security: "tls" | "plain" = "tls", at = source()): PageLane {
  return new PageLane({
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
    onRefused: () => undefined,
    onMap: () => undefined,
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
    expect(counters?.[role]).toMatchObject({ pagesSent: count, zeroPages: 0, links: 1 });
    // The destination counts the welcome too.
    expect(lane.bytesReceived - (counters?.[role].bytesSent ?? 0)).toBeGreaterThanOrEqual(0);
    expect(lane.bytesReceived - (counters?.[role].bytesSent ?? 0)).toBeLessThan(100);
  });

  test("what came together with the preamble is handed over with the connection", async () => {
    begin(security);
    await open();
    const lane = laneOf("pages", security, await joiningFirstBytes());
    await lane.connect();
    lane.request(request(0, 2, 3));
    await expectAnswer(0, 2);
  });
});

/** A way to the source on which the preamble arrives in one piece with what follows. */
async function joiningFirstBytes(): Promise<Endpoint> {
  const between = createServer((socket: Socket) => {
    const onward = connect(listener.port, "127.0.0.1");
    const first: Buffer[] = [];
    const join = (bytes: Buffer): void => {
      first.push(bytes);
      const all = Buffer.concat(first);
      if (all.length <= preambleBytes) return;
      socket.off("data", join);
      onward.write(all);
      socket.pipe(onward).on("error", () => socket.destroy());
    };
    socket.on("data", join).on("error", () => onward.destroy());
    onward.pipe(socket);
  });
  servers.push(between);
  between.listen(0, "127.0.0.1");
  await once(between, "listening");
  return { host: "127.0.0.1", port: (between.address() as AddressInfo).port };
}

/** To terminate it within a system call would end this process too. */
async function end(worker: Worker | undefined): Promise<void> {
  if (worker === undefined) throw new Error("there is no such thread");
  worker.postMessage({ kind: "stop" });
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

    await end(workers.find((each) => each.role === role)?.worker);
    lane.request(request(7, 1, 0));
    await expectAnswer(7, 1);
    expect(told).toEqual([expect.any(String), undefined]);
    expect(workers.map((each) => each.role).sort()).toEqual([...pageRoles, role].sort());
    expect(threads.countersOf(migrationId)?.[role]).toMatchObject({ pagesSent: 2, links: 1 });
  });

  test("leaves no connection waiting that was on its way to it", async () => {
    begin();
    const dying = workers.find(({ role }) => role === "pages")?.worker;
    // It is still loading its program, and takes nothing.
    const early = laneOf("pages")
      .connect()
      .then(
        () => "connected",
        (error: unknown) => error,
      );
    await sleep(5);
    await end(dying);
    // At once: a connection that nobody took would say nothing for five seconds.
    expect(await Promise.race([early, sleep(2_000, "it waits")])).toBeInstanceOf(Error);
    await expect(laneOf("pages").connect()).rejects.toMatchObject({ code: "unauthorized" });
  });

  test("takes no order with it, nor a transfer that begins while there is none", async () => {
    await end(workers[0]?.worker);
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
  const links = await Promise.all(
    pageRoles.map((role) =>
      openLink({ migrationId, secret, source: source(), role, signal: stop.signal }, () => undefined),
    ),
  );
  threads.end(migrationId);
  for (const { closed } of links) expect(await closed).toBeInstanceOf(Error);
  await expect(laneOf("pages").connect()).rejects.toMatchObject({ code: "unauthorized" });
  await expect(open()).rejects.toMatchObject({ code: "not-found" });
});

test("who greets for another role than the connection came for is refused", async () => {
  begin("plain");
  const fed: { link?: ReturnType<typeof openFedLink> } = {};
  const key = Buffer.from(secret, "hex");
  const frames: number[] = [];
  const socket = await connectPlain({
    source: source(),
    identity: migrationId,
    key,
    role: "pages",
    signal: stop.signal,
    onBytes: (bytes) => fed.link?.receive(bytes),
  });
  fed.link = openFedLink(socket, ({ type }) => void frames.push(type));
  fed.link.write(frameTypes.hello, 0, encodeHello("faults"));
  expect(await fed.link.closed).toBeInstanceOf(Error);
  expect(frames).toEqual([]);
});

test("connections that are lost while they are handed over cost nobody else anything", async () => {
  begin();
  await open();
  const lane = laneOf("pages");
  await lane.connect();
  const strangers = Array.from({ length: 40 }, async (_each, at) => {
    const socket = connect(listener.port, "127.0.0.1").on("error", () => undefined);
    await once(socket, "connect");
    socket.write(encodePreamble({ security: at % 2 === 0 ? "tls" : "plain", role: "pages" }));
    if (at % 4 < 2) await sleep(1);
    socket.resetAndDestroy();
  });
  await Promise.all(strangers);
  lane.request(request(9, 9, 3));
  await expectAnswer(9, 9);
  expect(workers).toHaveLength(2);
});

test("after the stop there is no thread, and none comes", async () => {
  begin();
  const lane = laneOf("pages");
  await lane.connect();
  await threads.stop();
  await sleep(300);
  // A worker that has ended has this number.
  expect(workers.map(({ worker }) => worker.threadId)).toEqual([-1, -1]);
});
