/**
 * Sends the directory of CRIU images, inside the downtime: contents only, few system calls. The dump is over, so the
 * files are read one after the other as they lie.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Attributes } from "../shared/core/frames/attributes.ts";
import { DmigrateError, hasErrno, messageOf } from "../shared/errors.ts";
import { RecordWriter } from "./adapters/record-writer.ts";
import type { FileJobs } from "./file-jobs.ts";

const epoch = { seconds: 0, nanos: 0 };
const noAttributes: Attributes = { mode: 0o600, uid: 0, gid: 0, access: epoch, modify: epoch };

/** Answers the number of files. Throws `conflict` when there are no images yet, or `transfer-failed`. */
export async function shipImages(jobs: FileJobs, imagesDir: string, signal: AbortSignal): Promise<number> {
  const names = listImages(imagesDir);
  return jobs.run({ kind: "trees", trees: [{ kind: "images" }] }, 1, signal, async (job) => {
    const writer = new RecordWriter(job);
    await writer.write({ type: "tree", index: 0 });
    const root = { attributes: noAttributes, fresh: false, prune: true };
    await writer.write({ type: "directory", name: Buffer.alloc(0), ...root });
    for (const name of names) await writeImage(writer, imagesDir, name);
    await writer.write({ type: "leave" });
    await writer.flush();
  });
}

function listImages(imagesDir: string): string[] {
  let names: string[];
  try {
    names = readdirSync(imagesDir);
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
    names = [];
  }
  if (names.length === 0) throw new DmigrateError("conflict", `there are no CRIU images in ${imagesDir} yet`);
  return names;
}

async function writeImage(writer: RecordWriter, dir: string, name: string): Promise<void> {
  const path = join(dir, name);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile())
      throw new DmigrateError("transfer-failed", `${path} is not a file; CRIU does not write such a thing`);
    await writer.write({ type: "file", name: Buffer.from(name), attributes: noAttributes, size: stat.size });
    const bytes = await writer.writeFileRange(fd, 0, stat.size);
    if (bytes !== stat.size) throw new DmigrateError("transfer-failed", `${path} became shorter while it was read`);
    await writer.write({ type: "fileEnd" });
  } catch (error) {
    if (error instanceof DmigrateError) throw error;
    throw new DmigrateError("transfer-failed", `${path} could not be sent: ${messageOf(error)}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}
