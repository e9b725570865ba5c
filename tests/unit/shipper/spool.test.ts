import { randomBytes } from "node:crypto";
import { fstatSync, readdirSync, statfsSync } from "node:fs";
import { expect, test } from "vitest";
import { Spool } from "../../../services/shipper/adapters/spool.ts";
import { descriptorsIn } from "../../helpers/open-files.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const MiB = 1 << 20;

test("gives frames back as they came, and the room with them; nothing has a name", async () => {
  const directory = temporaryDirectory("spool-");
  const spool = (await Spool.open(directory, { bytes: 64 * MiB })) as Spool;
  const frames = [...Array(40).keys()].map((at) => randomBytes(at === 7 ? 0 : MiB - at));
  for (const frame of frames) expect(await spool.add(frame)).toBe(true);
  expect(readdirSync(directory)).toEqual([]);
  const [fd = -1] = descriptorsIn(directory);
  const allocated = (): number => fstatSync(fd).blocks * 512;
  expect(allocated()).toBeGreaterThanOrEqual(39 * MiB);
  let at = 0;
  for await (const frame of spool.takeAll()) {
    expect(frame.equals(frames[at] as Buffer)).toBe(true);
    // At most a stretch of it is not given back yet.
    expect(allocated()).toBeLessThanOrEqual((40 - at + 17) * MiB);
    at++;
  }
  expect(at).toBe(40);
  expect(allocated()).toBe(0);
  await spool.add(Buffer.from("again"));
  for await (const frame of spool.takeAll()) expect(frame.toString()).toBe("again");
  await spool.close();
});

test("those with one budget take no more than it together, and say so", async () => {
  const budget = { bytes: 2 * MiB };
  const [spool, other] = [await Spool.open("/tmp", budget), await Spool.open("/tmp", budget)] as [Spool, Spool];
  for (const each of [spool, other]) expect(await each.add(Buffer.alloc(MiB))).toBe(true);
  expect(await spool.add(Buffer.from("a little"))).toBe(false);
  expect(await spool.add(Buffer.alloc(0))).toBe(true);
  await other.close();
  const { bavail, bsize } = statfsSync("/tmp");
  const endless = { bytes: Infinity };
  await (await Spool.open("/tmp", endless))?.close();
  // A quarter of what is free; others write too.
  expect(endless.bytes / (bavail * bsize)).toBeCloseTo(1 / 4, 2);
  await spool.close();
});

test("where files without a name cannot be had there is none", async () => {
  expect(await Spool.open("/proc", { bytes: MiB })).toBeUndefined();
  expect(await Spool.open("/nonexistent", { bytes: MiB })).toBeUndefined();
});
