/** Real page daemons, linked to a source on loopback; the restore is a mere connection, which makes them needed. */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonPageServer, startUnusedDaemon } from "../../../services/pager/daemon-page-server.ts";
import { noStats, type PageServer } from "../../../services/pager/page-server.ts";
import { takeOverServer } from "../../../services/pager/take-over.ts";
import { messageOf } from "../../../services/shared/errors.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { PageSource } from "../../helpers/page-source.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");

let workDir: string;
let listener: DataListener;
let source: PageSource;
let drained: number[];
let failures: string[];
const events = {
  onDrained: (drainMs: number) => void drained.push(drainMs),
  onCached: () => undefined,
  onFailure: (error: unknown) => void failures.push(messageOf(error)),
};

beforeEach(async () => {
  [drained, failures] = [[], []];
  workDir = await mkdtemp(join(tmpdir(), "dmigrate-take-over-"));
  source = new PageSource(secret, undefined);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => source, log);
});
afterEach(async () => {
  source.stop();
  await listener.close();
  await rm(workDir, { recursive: true });
});

const request = () => ({
  migrationId,
  secret,
  source: { host: "127.0.0.1", port: listener.port },
  readers: 1,
  windowBytes: 4 << 20,
  earlyBytes: 4 << 20,
  chunkBytes: 256 << 10,
  whole: false,
});
const startDaemon = (): Promise<DaemonPageServer> =>
  DaemonPageServer.start(
    { ...request(), workDir, reconnectMs: 1_000 },
    { workDir, log, ...events },
    startUnusedDaemon(),
  );
const takeOver = (serveMs?: number): Promise<PageServer> =>
  takeOverServer(
    { request: request(), pagesTotal: 9, ...(serveMs !== undefined && { serveMs }) },
    workDir,
    log,
    events,
  );
async function beginRestore(): Promise<Socket> {
  const restore = connect(join(workDir, "lazy-pages.socket"));
  restore.on("error", () => undefined);
  await once(restore, "connect");
  // It is needed once it has taken the connection.
  await sleep(300);
  return restore;
}

const attaches = (): Promise<boolean> =>
  new Promise((resolve) => {
    const agent = connect(join(workDir, "agent.socket"));
    agent.once("connect", () => resolve(true));
    agent.once("error", () => resolve(false));
    agent.once("connect", () => agent.destroy());
  });

/** As CRIU does when every process is restored. */
const finishRestore = (restore: Socket): void => void restore.write(Buffer.from("FTSR"));

test("a daemon that is needed outlives its agent, and the next one takes hold of it", async () => {
  const first = await startDaemon();
  const restore = await beginRestore();
  expect(await first.stop(false)).toBe(false);
  await first.leave();

  const second = await takeOver(1);
  expect(failures).toEqual([]);
  expect(await second.stop(false)).toBe(false);
  restore.destroy();
  await expect.poll(() => failures).toEqual([expect.stringContaining("restore ended before it was done")]);
  expect(await second.stop(false)).toBe(true);
  expect(drained).toEqual([]);
});

test("a daemon that rehearses serves a migration as soon as it is given one", async () => {
  const unused = startUnusedDaemon();
  unused.daemon.ask({ kind: "rehearse" }, "rehearsed", 10_000).catch(() => undefined);
  await sleep(500);
  const options = { ...request(), workDir, reconnectMs: 1_000 };
  const server = await DaemonPageServer.start(options, { workDir, log, ...events }, unused);
  await expect.poll(() => source.roles.toSorted()).toEqual(["faults", "pages"]);
  const restore = await beginRestore();
  expect(await server.stop(false)).toBe(false);
  expect(failures).toEqual([]);
  await server.stop(true);
  restore.destroy();
});

test("one that has failed says so to the next agent too", async () => {
  const first = await startDaemon();
  const restore = await beginRestore();
  await first.serve("", []);
  await first.leave();
  const second = await takeOver(1);
  await listener.close();
  source.cut();
  await expect.poll(() => failures.length, { timeout: 10_000 }).toBeGreaterThan(0);
  await second.leave();

  failures = [];
  const third = await takeOver(1);
  expect(failures[0]).toContain("the source stayed away");
  expect(await third.stop(true)).toBe(true);
  restore.destroy();
});

test("one that nobody needs ends with its agent, and what is left of it depends on whether it had served", async () => {
  const first = await startDaemon();
  await first.leave();
  const lastWord = async (serveMs?: number): Promise<string> => {
    const server = await takeOver(serveMs);
    await server.stop(false);
    return failures.at(-1) ?? "";
  };
  await expect.poll(() => lastWord(), { timeout: 5_000 }).toMatch(/its page server did not outlive it \(there is no/);
  expect(failures.at(-1)).not.toContain("remove it");
  expect(await lastWord(1)).toContain("has read zeros since: remove it");
});

test("one that has done its work meanwhile has left word of it", async () => {
  const stats = { ...noStats, pagesFaulted: 4, pagesPrefetched: 5 };
  await writeFile(join(workDir, "drained.json"), JSON.stringify({ drainMs: 12.5, stats }));
  const server = await takeOver(1);
  expect(drained).toEqual([12.5]);
  expect(failures).toEqual([]);
  expect(server.stats).toEqual(stats);
  await writeFile(join(workDir, "drained.json"), "{");
  await takeOver(1);
  expect(failures).toHaveLength(1);
});

/** A daemon that was left does its work, and finds no room to write that down. */
async function drainWithoutRoom(): Promise<Socket> {
  const first = await startDaemon();
  const restore = await beginRestore();
  await first.serve("", []);
  await mkdir(join(workDir, "drained.json", "in-its-place"), { recursive: true });
  await first.leave();
  finishRestore(restore);
  return restore;
}

test("one that has done its work and finds no room to write that down says so all the same, also to the next agent", async () => {
  const restore = await drainWithoutRoom();
  await sleep(1_500);
  const second = await takeOver(1);
  await expect.poll(() => drained.length).toBe(1);
  expect(failures).toEqual([]);
  expect(await second.stop(false)).toBe(true);
  restore.destroy();
});

test("one that finds room to write down only later ends then", async () => {
  const restore = await drainWithoutRoom();
  await sleep(500);
  await rm(join(workDir, "drained.json"), { recursive: true });
  await expect.poll(() => existsSync(join(workDir, "drained.json")), { timeout: 5_000 }).toBe(true);
  await expect.poll(() => attaches(), { timeout: 5_000 }).toBe(false);
  await takeOver(1);
  expect([drained.length, failures]).toEqual([1, []]);
  restore.destroy();
});
