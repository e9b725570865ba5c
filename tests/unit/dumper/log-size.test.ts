import { mkdtemp, open, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Inspected } from "../../../services/dumper/adapters/engine.ts";
import { bytesPerSecond, measureLog } from "../../../services/dumper/adapters/log-size.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "log-size-"));
});
afterEach(() => rm(dir, { recursive: true }));

const at = Date.parse("2026-01-02T03:04:05Z");
const line = (ms: number): string =>
  `${JSON.stringify({ log: "x".repeat(100), stream: "stdout", time: new Date(at + ms).toISOString().replace("Z", "000000Z") })}\n`;
const inspected = (LogConfig: object, name = "log"): Inspected =>
  ({ LogPath: join(dir, name), HostConfig: { LogConfig } }) as Inspected;
const jsonFile = { Type: "json-file", Config: { "max-size": "1m", "max-file": "3" } };

test("adds up what is log, but not the room in it", async () => {
  const [before, after] = [line(0).repeat(3000), line(1000).repeat(2000)];
  await writeFile(join(dir, "log"), `${before}${" ".repeat(2 << 20)}${after}`);
  await writeFile(join(dir, "log.1"), "12345");
  await writeFile(join(dir, "log.2.gz"), "123");
  await writeFile(join(dir, "log.3"), "not Docker's any more");
  const { bytes, rotatedBytes } = (await measureLog(inspected(jsonFile), at)) ?? {};
  const exact = before.length + after.length;
  expect(Math.abs((bytes ?? 0) - exact)).toBeLessThan(3 * 64 * 1024);
  expect(rotatedBytes).toBe(8);
});

test("takes a log of many gigabytes for no less than it is, in no time", async () => {
  const path = join(dir, "log");
  await writeFile(path, line(0));
  await truncate(path, 40 * 2 ** 30);
  const handle = await open(path, "r+");
  // Where a look falls on it: of far less than lies between two of them.
  await handle.write(" ".repeat(1 << 20), 100 * Math.ceil((40 * 2 ** 30) / 1_000));
  await handle.close();
  const started = performance.now();
  const { bytes } = (await measureLog(inspected(jsonFile), at)) ?? {};
  expect(bytes).toBe(40 * 2 ** 30);
  expect(performance.now() - started).toBeLessThan(3_000);
});

test("knows nothing of a log that Docker keeps elsewhere, or has not begun", async () => {
  expect(await measureLog(inspected({ Type: "journald" }), at)).toBeUndefined();
  expect(await measureLog(inspected(jsonFile, "absent"), at)).toBeUndefined();
  await writeFile(join(dir, "elsewhere"), line(0));
  await symlink(join(dir, "elsewhere"), join(dir, "linked"));
  expect(await measureLog(inspected(jsonFile, "linked"), at)).toBeUndefined();
});

test("tells how fast lines came", () => {
  const tail = `half of a line"}\n${[0, 500, 1000, 1500].map(line).join("")}`;
  const rate = bytesPerSecond(tail, at + 2000);
  expect(rate).toBeGreaterThan((line(0).length * 3) / 2);
  expect(rate).toBeLessThan((line(0).length * 4.5) / 2);
  expect(bytesPerSecond(" ".repeat(1000), at)).toBe(0);
  expect(bytesPerSecond(line(0), at + 3600_000)).toBeLessThan(1);
});
