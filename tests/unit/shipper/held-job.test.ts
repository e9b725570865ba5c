/** A job whose data comes before its place is known, with a real file to wait in. */
import { beforeEach, expect, test } from "vitest";
import { DmigrateError } from "../../../services/shared/errors.ts";
import { Spool } from "../../../services/shipper/adapters/spool.ts";
import { HeldJob } from "../../../services/shipper/held-job.ts";
import type { JobSink } from "../../../services/shipper/receive-jobs.ts";
import { descriptorsIn } from "../../helpers/open-files.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

let place: PromiseWithResolvers<void>;
let directory: string;
let applied: string[];
let aborted: number;
let job: JobSink;
beforeEach(() => {
  place = Promise.withResolvers();
  place.promise.catch(() => undefined);
  directory = temporaryDirectory("held-job-");
  [applied, aborted] = [[], 0];
  job = {
    write: (bytes, release) => {
      applied.push(bytes.toString());
      release();
      return Promise.resolve();
    },
    finish: () => Promise.resolve({ files: applied.length }),
    abort: () => {
      aborted++;
      return Promise.resolve();
    },
  };
});

const held = (openSpool = () => Spool.open(directory, { bytes: 1 << 20 })): HeldJob =>
  new HeldJob({ ready: place.promise, openSpool, job });

/** Whether the job has taken the frame off the sender's hands. */
async function write(sink: HeldJob, text: string): Promise<boolean> {
  let released = false;
  await sink.write(Buffer.from(text), () => (released = true));
  return released;
}

test("frames wait on disk for their place, and come in their order", async () => {
  const sink = held();
  for (const text of ["one", "two", ""]) expect(await write(sink, text)).toBe(true);
  expect(applied).toEqual([]);
  expect(descriptorsIn(directory).length).toBe(1);
  place.resolve();
  await place.promise;
  await write(sink, "three");
  expect(applied).toEqual(["one", "two", "", "three"]);
  expect(await sink.finish()).toEqual({ files: 4 });
  expect(descriptorsIn(directory).length).toBe(0);
});

test("an end waits for the place too", async () => {
  const sink = held();
  await write(sink, "all");
  const finished = sink.finish();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(applied).toEqual([]);
  place.resolve();
  expect(await finished).toEqual({ files: 1 });
  expect(applied).toEqual(["all"]);
});

test("nothing goes by the disk once there is a place", async () => {
  place.resolve();
  const sink = held(() => Promise.reject(new Error("a file was asked for")));
  await place.promise;
  await write(sink, "one");
  expect(await sink.finish()).toEqual({ files: 1 });
});

test("where nothing can wait on disk, the sender waits", async () => {
  const sink = held(() => Promise.resolve(undefined));
  const written = write(sink, "one");
  expect(await Promise.race([written, new Promise((resolve) => setTimeout(() => resolve("waits"), 20))])).toBe("waits");
  place.resolve();
  await written;
  expect(applied).toEqual(["one"]);
});

test("why there is no place is told to whoever writes, and at the end", async () => {
  const [sink, other] = [held(), held()];
  await write(other, "one");
  place.reject(new DmigrateError("not-migratable", "no overlay is mounted"));
  await place.promise.catch(() => undefined);
  await expect(write(sink, "one")).rejects.toThrow("no overlay is mounted");
  await expect(other.finish()).rejects.toThrow("no overlay is mounted");
  for (const each of [sink, other]) await each.abort();
  expect(applied).toEqual([]);
  expect(descriptorsIn(directory).length).toBe(0);
});

test("a job that is ended while it waits leaves nothing behind", async () => {
  const sink = held();
  await write(sink, "one");
  const finished = sink.finish();
  finished.catch(() => undefined);
  await sink.abort();
  await expect(finished).rejects.toThrow("the job was ended");
  expect([applied, aborted, descriptorsIn(directory).length]).toEqual([[], 1, 0]);
});

test("a job that is ended in the midst of what waited stops there", async () => {
  const sink = held();
  for (const text of ["one", "two", "three"]) await write(sink, text);
  job.write = async (bytes) => {
    applied.push(bytes.toString());
    if (applied.length === 2) await sink.abort();
  };
  place.resolve();
  await expect(sink.finish()).rejects.toThrow("the job was ended");
  expect(applied).toEqual(["one", "two"]);
  expect(descriptorsIn(directory).length).toBe(0);
});
