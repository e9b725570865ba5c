/**
 * Sends memory that processes share with each other, which cannot be lazy, while the container still runs; after the
 * freeze only pages that have changed follow, among CRIU's images. For CRIU it is an earlier dump of these segments:
 *
 *     sent while it runs ── freeze ── compared (side by side with the dump) ── CRIU's images, without what is there
 *
 * What is there is told by a hash of each page, made of the very bytes that were sent.
 */
import { closeSync } from "node:fs";
import { encodePagemap, type PageRange } from "../shared/core/criu/process-images.ts";
import { maxDataBytes } from "../shared/core/frames/frame.ts";
import { pageBytes } from "../shared/core/frames/page-message.ts";
import { breathe } from "./adapters/breathe.ts";
import { CachedReader } from "./adapters/cached-read.ts";
import { GmacHasher } from "./adapters/gmac-hasher.ts";
import { RecordWriter } from "./adapters/record-writer.ts";
import { mappedSegments, openSegments, pagesOf, type SharedSegment } from "./adapters/shared-segments.ts";
import { PageHashes } from "./core/page-hashes.ts";
import type { FileJobs } from "./file-jobs.ts";
import { contentOnly, writeBytes } from "./ship-images.ts";

interface Segment extends SharedSegment {
  /** The pages that were sent, ascending. */
  sent: PageRange[];
}

/** Of all segments: each takes some time and memory, however few pages it has. What lies behind them is left to CRIU's images. */
const mostRuns = 2 ** 16;
/** What is compared at once. */
const comparedBytes = 1 << 20;

export class SharedMemory {
  readonly #segments: Segment[];
  readonly #hasher = new GmacHasher();
  readonly #hashes = new PageHashes(this.#hasher, { zeros: true });
  readonly #reader = new CachedReader(comparedBytes);
  #closed = false;

  private constructor(segments: Segment[]) {
    this.#segments = segments;
  }

  /** Opens what the processes share; undefined when that is nothing. */
  static open(hostPids: readonly number[]): SharedMemory | undefined {
    const segments = openSegments(mappedSegments(hostPids));
    if (segments.length === 0) return undefined;
    try {
      return new SharedMemory(withPages(segments));
    } catch (error) {
      for (const { fd } of segments) closeSync(fd);
      throw error;
    }
  }

  /** Sends it all. Throws `transfer-failed`, `cancelled`. */
  async send(jobs: FileJobs, signal: AbortSignal): Promise<number> {
    return jobs.run({ kind: "trees", trees: [{ kind: "shared" }] }, 4, signal, async (job) => {
      const writer = new RecordWriter(job);
      await writer.write({ type: "tree", index: 0 });
      await writer.write({ type: "directory", name: Buffer.alloc(0), ...contentOnly.directory });
      for (const [index, segment] of this.#segments.entries()) await this.#send(writer, segment, index + 1, job.signal);
      await writer.write({ type: "leave" });
      await writer.flush();
    });
  }

  async #send(writer: RecordWriter, { inode, sent, fd }: Segment, pagesId: number, signal: AbortSignal): Promise<void> {
    const pagemap = encodePagemap({ pagesId, entries: sent.map((run) => ({ ...run, lazy: false })) });
    await writeBytes(writer, `pagemap-shmem-${inode}.img`, pagemap);
    const size = sent.reduce((sum, { pages }) => sum + pages, 0) * pageBytes;
    const name = Buffer.from(`pages-${pagesId}.img`);
    await writer.write({ type: "file", name, attributes: contentOnly.attributes, size });
    let offset = 0;
    for (const { page, pages } of sent)
      for (let at = page; at < page + pages;) {
        const wait = breathe(signal);
        if (wait !== undefined) await wait;
        const wanted = Math.min((page + pages - at) * pageBytes, maxDataBytes);
        const read = await this.#reader.read(fd, at * pageBytes, wanted);
        const bytes = this.#reader.room.subarray(0, wanted);
        // Cut off meanwhile: then nobody will ask for these pages.
        bytes.fill(0, read);
        this.#hashes.remember(inode, at, wanted / pageBytes, bytes, 0);
        await writer.write({ type: "chunk", offset, bytes });
        offset += wanted;
        at += wanted / pageBytes;
      }
    await writer.write({ type: "fileEnd" });
  }

  /** Which pages of each segment that the processes still have, by its inode, are as they were sent. The container must be frozen. */
  async unchanged(hostPids: readonly number[], signal: AbortSignal): Promise<Map<number, PageRange[]>> {
    const all = new Map<number, PageRange[]>();
    const mapped = mappedSegments(hostPids);
    for (const { inode, fd, sent } of this.#segments) {
      if (!mapped.has(inode)) continue;
      const same: PageRange[] = [];
      all.set(inode, same);
      for (const { page, pages } of sent)
        for (let at = page; at < page + pages;) {
          const wait = breathe(signal);
          if (wait !== undefined) await wait;
          const read = await this.#reader.read(fd, at * pageBytes, (page + pages - at) * pageBytes);
          const whole = Math.floor(read / pageBytes);
          if (whole === 0) break;
          const areSame = this.#hashes.compare(inode, at, whole, this.#reader.room, 0);
          for (const [index, isSame] of areSame.entries()) if (isSame) addPage(same, at + index);
          at += whole;
        }
    }
    return all;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#hasher.close();
    for (const { fd } of this.#segments) closeSync(fd);
  }
}

function withPages(segments: readonly SharedSegment[]): Segment[] {
  let runsLeft = mostRuns;
  return segments.map((segment) => {
    const sent = pagesOf(segment.fd, runsLeft);
    runsLeft -= sent.length;
    return { ...segment, sent };
  });
}

function addPage(runs: PageRange[], page: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.page + last.pages === page) last.pages++;
  else runs.push({ page, pages: 1 });
}
