/** A log that is sent in passes while it changes, from a Docker that says where it lies to a file that has room for it. */
import { appendFileSync, readFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import Docker from "dockerode";
import { afterEach, beforeEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { linkPair } from "../../helpers/link-pair.ts";
import type { FrameHandler } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import { SourceLog } from "../../../services/shipper/adapters/source-log.ts";
import { TargetLog } from "../../../services/shipper/adapters/target-log.ts";
import { FileJobs } from "../../../services/shipper/file-jobs.ts";
import { ReceiveJobs } from "../../../services/shipper/receive-jobs.ts";

const { signal } = new AbortController();
const roomBytes = 10_000;
let dir: string;
let path: string;
let target: string;
let docker: Server;
let jobs: FileJobs;
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
  targetLog = await TargetLog.open({ path: target, bytes: roomBytes, maxBytes: 1_000_000, maxFiles: 3 });
  const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
  const { links } = linkPair(
    (frame) => handlers.source?.(frame),
    (frame) => handlers.target?.(frame),
  );
  jobs = new FileJobs();
  const receive = new ReceiveJobs({
    log: createLog("test", "silent"),
    onDone: () => undefined,
    open: (spec) => {
      if (spec.kind !== "log") throw new Error(`a job ${spec.kind}`);
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
