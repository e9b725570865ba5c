/**
 * Sends the directory of CRIU images, inside the downtime: contents only, few system calls. The dump is over, so the
 * files are read one after the other as they lie.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { decodePagemap, encodePagemap, type PageRange } from "../shared/core/criu/process-images.ts";
import type { Attributes } from "../shared/core/frames/attributes.ts";
import { maxDataBytes } from "../shared/core/frames/frame.ts";
import { pageBytes } from "../shared/core/frames/page-message.ts";
import { DmigrateError, hasErrno, messageOf } from "../shared/errors.ts";
import { parentImagesName } from "../shared/node-paths.ts";
import { RecordWriter } from "./adapters/record-writer.ts";
import { splitPagemap, type SplitPagemap } from "./core/parent-pages.ts";
import type { FileJobs } from "./file-jobs.ts";

const epoch = { seconds: 0, nanos: 0 };
const attributes: Attributes = { mode: 0o600, uid: 0, gid: 0, access: epoch, modify: epoch };
/** Of files of which nothing but the content counts, in a directory of nothing else. */
export const contentOnly = { attributes, directory: { attributes, fresh: false, prune: true } } as const;

/** Pages of shared memory that the destination has, by the segment's inode. */
export type PagesThere = ReadonlyMap<number, readonly PageRange[]>;

/**
 * Sends all images but for the pages that are `there`. Answers the number of files. Throws `conflict` when there are no
 * images yet, or `transfer-failed`.
 */
export async function shipImages(
  jobs: FileJobs,
  imagesDir: string,
  there: PagesThere,
  signal: AbortSignal,
): Promise<number> {
  const names = listImages(imagesDir);
  const { segments, others } = partImages(names, imagesDir, there);
  return jobs.run({ kind: "trees", trees: [{ kind: "images" }] }, 1, signal, async (job) => {
    const writer = new RecordWriter(job);
    await writer.write({ type: "tree", index: 0 });
    await writer.write({ type: "directory", name: Buffer.alloc(0), ...contentOnly.directory });
    if (segments.length > 0) {
      const name = Buffer.from(parentImagesName);
      await writer.write({ type: "directory", name, attributes, fresh: false, prune: false });
      await writer.write({ type: "leave" });
    }
    for (const segment of segments) await writeSegment(writer, imagesDir, segment);
    for (const name of others) await writeImage(writer, imagesDir, name);
    await writer.write({ type: "leave" });
    await writer.flush();
  });
}

/** The images of a segment of which a part is there. */
interface SegmentImages {
  pagemapName: string;
  pagesName: string;
  pagemap: Buffer;
  own: SplitPagemap["own"];
}

function partImages(
  names: readonly string[],
  imagesDir: string,
  there: PagesThere,
): { segments: SegmentImages[]; others: string[] } {
  const segments = names.flatMap((pagemapName): SegmentImages[] => {
    const unchanged = there.get(Number(/^pagemap-shmem-(\d+)\.img$/.exec(pagemapName)?.[1]));
    if (unchanged === undefined || unchanged.length === 0) return [];
    const { pagesId, entries } = decodePagemap(readFileSync(join(imagesDir, pagemapName)));
    if (entries.some(({ lazy }) => lazy)) return [];
    const split = splitPagemap(entries, unchanged);
    const pagemap = encodePagemap({ pagesId, entries: split.entries });
    return [{ pagemapName, pagesName: `pages-${pagesId}.img`, pagemap, own: split.own }];
  });
  const taken = new Set(segments.flatMap(({ pagemapName, pagesName }) => [pagemapName, pagesName]));
  return { segments, others: names.filter((name) => !taken.has(name)) };
}

async function writeSegment(
  writer: RecordWriter,
  imagesDir: string,
  { pagemapName, pagesName, pagemap, own }: SegmentImages,
): Promise<void> {
  await writeBytes(writer, pagemapName, pagemap);
  const size = own.reduce((sum, { pages }) => sum + pages, 0) * pageBytes;
  await writer.write({ type: "file", name: Buffer.from(pagesName), attributes, size });
  const fd = openSync(join(imagesDir, pagesName), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const room = Buffer.allocUnsafe(maxDataBytes);
  try {
    let offset = 0;
    for (const { imagePage, pages } of own)
      for (let at = 0; at < pages * pageBytes;) {
        const bytes = room.subarray(0, Math.min(maxDataBytes, pages * pageBytes - at));
        if (readSync(fd, bytes, 0, bytes.length, imagePage * pageBytes + at) !== bytes.length)
          throw new DmigrateError("transfer-failed", `${join(imagesDir, pagesName)} is shorter than its pagemap says`);
        await writer.write({ type: "chunk", offset, bytes });
        offset += bytes.length;
        at += bytes.length;
      }
    await writer.write({ type: "fileEnd" });
  } finally {
    closeSync(fd);
  }
}

/** Sends a file whose bytes are here. */
export async function writeBytes(writer: RecordWriter, name: string, bytes: Buffer): Promise<void> {
  await writer.write({ type: "file", name: Buffer.from(name), attributes, size: bytes.length });
  for (let at = 0; at < bytes.length; at += maxDataBytes)
    await writer.write({ type: "chunk", offset: at, bytes: bytes.subarray(at, at + maxDataBytes) });
  await writer.write({ type: "fileEnd" });
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
    await writer.write({ type: "file", name: Buffer.from(name), attributes, size: stat.size });
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
