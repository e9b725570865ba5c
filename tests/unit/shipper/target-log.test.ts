/** A log file that Docker goes on appending to while what came with the container is filled in before it. */
import { existsSync } from "node:fs";
import { appendFile, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import type { JobSpec } from "../../../services/shared/core/frames/job-message.ts";
import { createLog } from "../../../services/shared/log.ts";
import { mendLogs } from "../../../services/shipper/adapters/log-passes.ts";
import { TargetLog } from "../../../services/shipper/adapters/target-log.ts";

const migrationId = "m-0123456789abcdef";
let stateDir: string;
let dir: string;
let path: string;
let log: TargetLog;
beforeEach(() => {
  stateDir = temporaryDirectory("target-log-state-");
  dir = temporaryDirectory("target-log-");
  path = join(dir, "x-json.log");
});
afterEach(() => log.close());

const line = (log: string): string => `${JSON.stringify({ log: `${log}\n` })}\n`;
const openFor = async (bytes: number, limits: { maxBytes?: number; maxFiles: number } = { maxFiles: 1 }) => {
  await writeFile(path, "");
  await truncate(path, bytes);
  log = await TargetLog.open({ path, bytes, ...limits }, stateDir, migrationId);
};
const current = (from: number): Extract<JobSpec, { kind: "log" }> => ({ kind: "log", file: 0, packed: false, from });
const send = async (spec: Extract<JobSpec, { kind: "log" }>, ...parts: string[]): Promise<void> => {
  const sink = log.sink(spec);
  for (const part of parts) await sink.write(Buffer.from(part), () => undefined);
  await sink.finish();
};
/** The log as Docker decodes it: values of JSON with white space between them. */
const read = async (): Promise<string[]> =>
  (await readFile(path, "utf8"))
    .split("\n")
    .filter((text) => text.trim() !== "")
    .map((text) => (JSON.parse(text) as { log: string }).log.trimEnd());

describe("the file that Docker writes to", () => {
  test("has what came before what was written there, in whatever order they came", async () => {
    await openFor(1000);
    await send(current(0), line("one"), line("two"));
    await appendFile(path, line("four"));
    const sent = line("one").length + line("two").length;
    await send(current(sent), line("thr").slice(0, 5), line("thr").slice(5));
    expect(await read()).toEqual(["one", "two", "thr", "four"]);
    expect((await readFile(path)).indexOf(0)).toBe(-1);
    expect((await readFile(path)).length).toBe(1000 + line("four").length);
  });

  test("begins anew when the source's did, with less in it", async () => {
    await openFor(1000);
    await send(current(0), line("one"), line("two"));
    await send(current(0), line("six"));
    await appendFile(path, line("seven"));
    expect(await read()).toEqual(["six", "seven"]);
  });

  test("says how much found no room, after whole lines, and grows by nothing", async () => {
    await openFor(1000);
    const lines = Array.from({ length: 60 }, (_, at) => line(`line ${at}`));
    await send(current(0), lines.slice(0, 30).join(""), lines.slice(30).join(""));
    await send(current(lines.join("").length), line("later"));
    await appendFile(path, line("own"));
    const there = await read();
    const notice = there.at(-2) ?? "";
    const kept = there.slice(0, -2);
    expect(kept).toEqual(kept.map((_, at) => `line ${at}`));
    expect(kept.length).toBeGreaterThan(20);
    const lost = lines.slice(kept.length).join("").length + line("later").length;
    expect(notice).toContain(`dmigrate: ${lost} bytes`);
    expect(there.at(-1)).toBe("own");
    expect((await readFile(path)).length).toBe(1000 + line("own").length);
  });

  test("has whole lines when the sending breaks off in the midst of one, and takes the rest from there", async () => {
    await openFor(1000);
    await send(current(0), line("one"));
    const sink = log.sink(current(line("one").length));
    await sink.write(Buffer.from(line("two") + line("three").slice(0, 9)), () => undefined);
    await sink.abort();
    await appendFile(path, line("own"));
    expect(await read()).toEqual(["one", "two", "own"]);
    await send(current(0), line("one"), line("two"), line("three"));
    expect(await read()).toEqual(["one", "two", "three", "own"]);
  });

  test.each<["before" | "after"]>([["before"], ["after"]])(
    "keeps what comes anew when the end of the one before it is told %s that",
    async (when) => {
      await openFor(1000);
      await send(current(0), line("one"));
      const given = log.sink(current(line("one").length));
      await given.write(Buffer.from(line("two").slice(0, 9)), () => undefined);
      const ending = when === "before" ? given.abort() : undefined;
      const anew = log.sink(current(0));
      await anew.write(Buffer.from(line("one") + line("two")), () => undefined);
      await (ending ?? given.abort());
      await anew.write(Buffer.from(line("three")), () => undefined);
      await anew.finish();
      expect(await read()).toEqual(["one", "two", "three"]);
    },
  );

  test("keeps what came when a sending is ended that is over", async () => {
    await openFor(1000);
    const sink = log.sink(current(0));
    await sink.write(Buffer.from(line("one") + line("two").slice(0, 9)), () => undefined);
    await sink.finish();
    await sink.abort();
    expect(await readFile(path, "utf8")).toContain(line("two").slice(0, 9));
  });

  test("refuses bytes that do not follow those before them", async () => {
    await openFor(1000);
    await send(current(0), line("one"));
    expect(() => log.sink(current(3))).toThrow(/from byte 3 on/);
  });
});

const rotated = (file: number, packed = false) => ({ kind: "log", file, packed, from: 0 }) as const;

describe("files that were rotated", () => {
  test("are put beside it, each in place of the other form of it", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    await send(current(0));
    await send(rotated(2), "second");
    await send(rotated(1), "first");
    await send(rotated(1, true), "packed");
    expect((await readdir(dir)).toSorted()).toEqual(["x-json.log", "x-json.log.1.gz", "x-json.log.2"]);
    expect(await readFile(`${path}.1.gz`, "utf8")).toBe("packed");
  });

  test("are no more and no larger than Docker's limits here", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    expect(() => log.sink(rotated(3))).toThrow(/kept in 3/);
    const sink = log.sink(rotated(1));
    await expect(sink.write(Buffer.alloc(1 << 21), () => undefined)).rejects.toThrow(/larger than the 1000 bytes/);
    await sink.abort();
    expect(await readdir(dir)).toEqual(["x-json.log"]);
  });

  test("are refused once Docker has rotated here", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    await rm(path);
    await writeFile(path, "");
    await expect(send(rotated(1), "late")).rejects.toThrow(/Docker has rotated/);
  });

  test("are renamed, the oldest first, and put in place of what was there", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 5 });
    await send(current(0));
    await send(rotated(3), "oldest");
    await send(rotated(2), "second");
    await send(rotated(1, true), "packed");
    const renames = [
      { file: 4, was: 2, packed: false },
      { file: 3, was: 1, packed: true },
    ];
    await log.sink({ kind: "logRenames", files: renames }).finish();
    expect((await readdir(dir)).toSorted()).toEqual(["x-json.log", "x-json.log.3.gz", "x-json.log.4"]);
    expect(await readFile(`${path}.4`, "utf8")).toBe("second");
    expect(await readFile(`${path}.3.gz`, "utf8")).toBe("packed");
  });

  test.each([
    ["beyond Docker's limits", [{ file: 3, was: 1 }], /kept in 3/],
    ["to where they were", [{ file: 1, was: 1 }], /files only age/],
    [
      "the newest first",
      [
        { file: 1, was: 1 },
        { file: 2, was: 1 },
      ],
      /files only age/,
    ],
  ])("are not renamed %s", async (_how, files, why) => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    const renames = files.map((each) => ({ ...each, packed: false }));
    expect(() => log.sink({ kind: "logRenames", files: renames })).toThrow(why);
  });

  test("begin with what has come of them before they were rotated, unless that is not all here", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    await send(current(0), line("one"));
    const sent = line("one").length;
    await send({ ...rotated(1), from: sent }, line("two"));
    expect(await readFile(`${path}.1`, "utf8")).toBe(line("one") + line("two"));
    expect(() => log.sink({ ...rotated(1), from: sent - 1 })).toThrow(/goes on at byte/);
    await send(current(sent), line("long".repeat(30)));
    expect(() => log.sink({ ...rotated(1), from: sent + line("long".repeat(30)).length })).toThrow(/goes on at byte/);
  });

  test("are refused where none ever is", async () => {
    await openFor(100);
    expect(() => log.sink(rotated(1))).toThrow(/kept in 1/);
  });
});

describe("an agent that dies while the log comes", () => {
  const silent = createLog("test", "silent");
  const noted = () => existsSync(join(stateDir, "migrations", migrationId, "log-pass.json"));

  test("leaves half a line, which the next one takes away, and Docker's own is read", async () => {
    await openFor(1000);
    await send(current(0), line("one"), line("two").slice(0, 5));
    const sent = line("one").length + 5;
    const dying = log.sink(current(sent));
    await dying.write(Buffer.from(line("two").slice(5) + line("three") + line("four").slice(0, 9)), () => undefined);
    await appendFile(path, line("own"));
    await expect(read()).rejects.toThrow();
    expect(noted()).toBe(true);
    await mendLogs(stateDir, silent);
    expect(await read()).toEqual(["one", "two", "three", "own"]);
    expect((await readFile(path)).length).toBe(1000 + line("own").length);
    expect(noted()).toBe(false);
  });

  test("leaves what was there before, where the log begins anew", async () => {
    await openFor(1000);
    await send(current(0), line("one"), line("two"), line("three"));
    await log.sink(current(0)).write(Buffer.from(line("a longer one") + line("x").slice(0, 3)), () => undefined);
    await mendLogs(stateDir, silent);
    expect(await read()).toEqual(["a longer one", "three"]);
  });

  test("leaves files that had not come whole, and they go, others stay", async () => {
    await openFor(100, { maxBytes: 1000, maxFiles: 3 });
    await send(current(0), line("one"));
    await send(rotated(2), "second");
    await log.sink(rotated(1)).write(Buffer.from("fir"), () => undefined);
    await writeFile(`${path}.1.dmigrate.mine`, "");
    await mendLogs(stateDir, silent);
    expect((await readdir(dir)).toSorted()).toEqual(["x-json.log", "x-json.log.1.dmigrate.mine", "x-json.log.2"]);
    expect(await read()).toEqual(["one"]);
  });

  test("leaves a file that is another one by then, which is not touched", async () => {
    await openFor(1000);
    await send(current(0), line("one"));
    await log.sink(current(0)).write(Buffer.from(line("one").slice(0, 5)), () => undefined);
    await rename(path, `${path}.1`);
    await writeFile(path, "no line");
    await mendLogs(stateDir, silent);
    expect(await readFile(path, "utf8")).toBe("no line");
  });

  test("leaves nothing to do when a sending was over, or was given up", async () => {
    await openFor(1000);
    await send(current(0), line("one"));
    const given = log.sink(current(line("one").length));
    await given.write(Buffer.from("half"), () => undefined);
    await given.abort();
    expect(noted()).toBe(false);
  });

  test("leaves no note before the container can be running here", async () => {
    await openFor(1000);
    await log.sink(current(0)).write(Buffer.from("half"), () => undefined);
    expect(noted()).toBe(false);
  });
});
