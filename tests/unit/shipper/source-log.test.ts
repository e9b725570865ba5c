/** A log that is sent in passes while it changes, from a Docker that says where it lies to a file that has room for it. */
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, readFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import Docker from "dockerode";
import { afterEach, beforeEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { linkPair } from "../../helpers/link-pair.ts";
import type { FramedLink, FrameHandler } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import { SourceLog } from "../../../services/shipper/adapters/source-log.ts";
import { TargetLog } from "../../../services/shipper/adapters/target-log.ts";
import { FileJobs } from "../../../services/shipper/file-jobs.ts";
import { ReceiveJobs } from "../../../services/shipper/receive-jobs.ts";

const { signal } = new AbortController();
const roomBytes = 10_000;
const migrationId = "m-0123456789abcdef";
let dir: string;
let path: string;
let target: string;
let docker: Server;
let jobs: FileJobs;
let link: FramedLink;
let sourceLog: SourceLog;
let targetLog: TargetLog;

beforeEach(async () => {
  dir = temporaryDirectory("dmigrate-log-");
  path = join(dir, "x-json.log");
  target = join(dir, "y-json.log");
  const LogConfig = { Type: "json-file", Config: { "max-size": "1m", "max-file": "3" } };
  docker = createServer((_request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ LogPath: path, HostConfig: { LogConfig } }));
  });
  const socketPath = join(dir, "docker.sock");
  await new Promise<void>((resolve) => void docker.listen(socketPath, resolve));
  writeFileSync(target, "");
  truncateSync(target, roomBytes);
  targetLog = await TargetLog.open(
    { path: target, bytes: roomBytes, maxBytes: 1_000_000, maxFiles: 3 },
    dir,
    migrationId,
  );
  const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
  const { links } = linkPair(
    (frame) => handlers.source?.(frame),
    (frame) => handlers.target?.(frame),
  );
  jobs = new FileJobs();
  link = links[0];
  const receive = new ReceiveJobs({
    log: createLog("test", "silent"),
    onDone: () => undefined,
    open: (spec) => {
      if (spec.kind !== "log" && spec.kind !== "logRenames") throw new Error(`a job ${spec.kind}`);
      return targetLog.sink(spec);
    },
  });
  handlers.source = jobs.attach(links[0]);
  handlers.target = receive.attach(links[1]);
  sourceLog = new SourceLog(new Docker({ socketPath }), "x");
});

afterEach(async () => {
  jobs.close(new Error("the test is over"));
  await sourceLog.close();
  await targetLog.close();
  docker.closeAllConnections();
  await new Promise((resolve) => docker.close(resolve));
});

const line = (text: string): string => `${JSON.stringify({ log: `${text}\n` })}\n`;
const send = (): Promise<number> => sourceLog.send(jobs, 4, signal);
const came = (file = target): string => readFileSync(file, "utf8").trimEnd();

test("what was written since follows", async () => {
  writeFileSync(path, line("one"));
  await send();
  appendFileSync(path, line("two"));
  await send();
  expect(await send()).toBe(0);
  expect(came()).toBe((line("one") + line("two")).trimEnd());
});

test("a log that was emptied meanwhile begins anew", async () => {
  writeFileSync(path, line("one") + line("two"));
  await send();
  truncateSync(path);
  appendFileSync(path, line("six"));
  await send();
  expect(came()).toBe(line("six").trimEnd());
  appendFileSync(path, line("seven"));
  await send();
  expect(came()).toBe((line("six") + line("seven")).trimEnd());
});

test("a log that was rotated meanwhile comes again, file by file", async () => {
  writeFileSync(path, line("one"));
  await send();
  renameSync(path, `${path}.1`);
  writeFileSync(path, line("two"));
  await send();
  expect(came()).toBe(line("two").trimEnd());
  expect(came(`${target}.1`)).toBe(line("one").trimEnd());
});

/** Lines of so many bytes in all, roughly, of which no two runs are the same. */
const lines = (name: string, bytes: number): string =>
  Array.from({ length: Math.ceil(bytes / 1_000) }, (_each, at) =>
    line(`${name} ${at} ${randomBytes(480).toString("hex")}`),
  ).join("");
/** As Docker rotates a log of three files. */
function rotate(): void {
  if (existsSync(`${path}.1`)) renameSync(`${path}.1`, `${path}.2`);
  renameSync(path, `${path}.1`);
  writeFileSync(path, "");
}
async function bytesOf(work: () => Promise<unknown>): Promise<number> {
  const before = link.bytesSent;
  await work();
  return link.bytesSent - before;
}

test("of files that were rotated meanwhile only the rest is sent that the destination does not have", async () => {
  const [oldest, middle, newest] = [lines("a", 300_000), lines("b", 300_000), lines("c", roomBytes / 2)];
  writeFileSync(path, oldest);
  rotate();
  appendFileSync(path, middle);
  rotate();
  appendFileSync(path, newest);
  expect(await bytesOf(send)).toBeGreaterThan(500_000);
  appendFileSync(path, line("the last of it"));
  rotate();
  appendFileSync(path, line("new"));
  expect(await bytesOf(send)).toBeLessThan(5_000);
  expect(came(`${target}.2`)).toBe(middle.trimEnd());
  expect(came(`${target}.1`)).toBe((newest + line("the last of it")).trimEnd());
  expect(came()).toBe(line("new").trimEnd());
  expect(await bytesOf(send)).toBe(0);
});

test("files that the destination does not have any more as they were sent come again", async () => {
  writeFileSync(path, lines("a", 100_000));
  rotate();
  const newest = lines("b", 2_000);
  appendFileSync(path, newest);
  await send();
  renameSync(`${target}.1`, `${target}.9`);
  rotate();
  appendFileSync(path, line("new"));
  await send();
  expect(came(`${target}.2`)).toBe(came(`${path}.2`));
  expect(came(`${target}.1`)).toBe(newest.trimEnd());
  expect(came()).toBe(line("new").trimEnd());
});

test("a file of which not all found room comes whole once it is rotated", async () => {
  const long = lines("a", 3 * roomBytes);
  writeFileSync(path, long);
  await send();
  expect(came()).toContain("found no room");
  rotate();
  appendFileSync(path, line("new"));
  await send();
  expect(came(`${target}.1`)).toBe(long.trimEnd());
  expect(came()).toBe(line("new").trimEnd());
});
