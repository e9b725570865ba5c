/** The source's page threads as they run: connections come in by the real data port, over TLS and without. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLink } from "../../../services/shared/link/dial.ts";
import { connectPages } from "../../../services/shared/link/page-client.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { PageThreads } from "../../../services/shipper/page-threads.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");
const program = new URL("../../../services/shipper/page-thread/thread.ts", import.meta.url);

let threads: PageThreads;
let workers: Worker[];
let listener: DataListener;
let stop: AbortController;

beforeEach(async () => {
  workers = [];
  stop = new AbortController();
  threads = new PageThreads(log, (options) => {
    const worker = new Worker(program, { workerData: options });
    workers.push(worker);
    return worker;
  });
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => undefined, log, threads.takeAway);
  threads.begin({ migrationId, secret, security: "plain" });
});

afterEach(async () => {
  stop.abort();
  await listener.close();
  await threads.stop();
});

const options = () => ({
  ...{ migrationId, secret, signal: stop.signal },
  source: { host: "127.0.0.1", port: listener.port },
});
const fetchOne = async () => {
  const pages = await connectPages(options());
  try {
    return await pages.fetch({ pid: 1, vaddr: 4096n, pages: 1, priority: 3 });
  } finally {
    pages.close();
  }
};

describe.each(["tls", "plain"] as const)("over %s", (security) => {
  test.each(["pages", "faults"] as const)("a connection for %s is served by its thread", async (role) => {
    const link = await openLink({ ...options(), role, security }, () => undefined);
    await expect.poll(() => threads.countersOf(migrationId)?.[role].links).toBe(1);
    threads.end(migrationId);
    await link.closed;
    expect(link.open).toBe(false);
  });
});

test("pages of memory that is not open yet are refused for now, those of memory that is lost for good", async () => {
  await expect(fetchOne()).rejects.toThrow("not open yet");
  await threads.lose(migrationId, "the node was reset");
  await expect(fetchOne()).rejects.toThrow("the node was reset");
});

test("memory that is not the container's is not opened", async () => {
  const memory = { containerId: "ab".repeat(32), processes: [{ pid: 1, hostPid: process.pid }], provisional: false };
  await expect(threads.open(migrationId, memory)).rejects.toMatchObject({ code: "invalid-request" });
  await expect(threads.open("m-ffffffffffffffff", memory)).rejects.toMatchObject({ code: "not-found" });
});

test("who does not know the secret is refused, and so is who greets for another role than it came for", async () => {
  await expect(
    openLink({ ...options(), role: "faults", secret: "00".repeat(32) }, () => undefined),
  ).rejects.toMatchObject({ code: "unauthorized" });
  // Files are served by the main thread, which knows no transfer here.
  await expect(openLink({ ...options(), role: "files" }, () => undefined)).rejects.toMatchObject({
    code: "unauthorized",
  });
});

test("a thread that dies is replaced, and knows what the one before it knew", async () => {
  await threads.lose(migrationId, "the node was reset");
  const link = await openLink({ ...options(), role: "pages" }, () => undefined);
  const [pagesThread] = workers;
  if (pagesThread === undefined) throw new Error("there is no thread");
  pagesThread.postMessage({ kind: "stop" });
  await once(pagesThread, "exit");
  await link.closed;
  await expect.poll(() => workers.length).toBe(3);
  await expect.poll(() => fetchOne().catch(String), { timeout: 5_000 }).toContain("the node was reset");
});
