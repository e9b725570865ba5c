/** Sends what is in an open file: its data and not its holes, or only what differs from what was sent before. */
import { seekData, seekHole, type FileStat } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import type { SentFile } from "../core/sent-blocks.ts";
import type { BlockTags } from "../core/tree-diff.ts";
import { zeroBlock } from "../core/zero-block.ts";
import type { BlockCopies } from "./block-copies.ts";
import { mostBlockBytes, noteBlocks, wasSent } from "./block-tags.ts";
import { breathe } from "./breathe.ts";
import type { CachedReader } from "./cached-read.ts";
import type { Judge, RecordWriter, WholeJudge } from "./record-writer.ts";

interface OpenContent {
  fd: number;
  stat: Pick<FileStat, "size">;
}

export interface ContentOptions extends OpenContent {
  stat: FileStat;
  writer: RecordWriter;
  signal: AbortSignal;
}

/** How much of a file is sent between two looks at the signal. */
const rangeBytes = 16 << 20;

/** What is made of the blocks that are sent. */
export interface BlockNotes {
  /** Of the file: what its blocks were. */
  tags: BlockTags | undefined;
  /** Of the pass: what blocks may be copied from, and this file, if others may be copied from it. */
  copies?: BlockCopies | undefined;
  origin?: SentFile | undefined;
  /** Of the job: is asked about all that is in the file at once, where it has no holes and does not share a frame with others. */
  whole?: WholeJudge;
}

/** Sends all of it, but what was sent before in the same pass only by where that is. */
export async function sendContent(options: ContentOptions, { tags, copies, origin, whole }: BlockNotes): Promise<void> {
  const { fd, stat, writer, signal } = options;
  if (origin !== undefined) await options.writer.write({ type: "origin", number: origin.number });
  const judge: Judge = (block, offset, isZero) => {
    if (tags !== undefined) noteBlocks(tags, block, offset);
    if (whole !== undefined) return isZero || block.length !== stat.size ? undefined : whole(block);
    const found = isZero ? undefined : copies?.find(block, origin, offset);
    return found?.then((original) => original && { type: "copy", offset, length: block.length, ...original });
  };
  const judging = tags !== undefined || copies !== undefined || whole !== undefined ? judge : undefined;
  for (const { from, to } of dataOf(options)) {
    for (let at = from; at < to;) {
      signal.throwIfAborted();
      // In whole blocks but for the ends, where they are noted.
      const beyond = judging === undefined ? 0 : at % mostBlockBytes;
      const end = Math.min(to, beyond === 0 ? at + rangeBytes : at + mostBlockBytes - beyond);
      // It has become shorter: there is no more of it.
      if ((await writer.writeFileRange(fd, at, end - at, judging, tags !== undefined)) < end - at) return;
      at = end;
    }
  }
}

/** What a file is compared with, and by what it is read. */
export interface Comparison {
  sent: BlockTags;
  reader: CachedReader;
  /** What its blocks are now. */
  tags?: BlockTags;
}

/** Sends what differs from what was sent before, and all holes. */
export async function sendChanges(options: ContentOptions, comparison: Comparison): Promise<void> {
  const { writer, stat } = options;
  let end = 0;
  for (const { from, to } of dataOf(options)) {
    if (from > end) await writer.write({ type: "hole", offset: end, length: from - end });
    await sendChangedBlocks(options, { from, to }, comparison);
    end = to;
  }
  if (stat.size > end) await writer.write({ type: "hole", offset: end, length: stat.size - end });
}

async function sendChangedBlocks(
  { fd, writer, signal }: ContentOptions,
  { from, to }: DataRange,
  { sent, reader, tags }: Comparison,
): Promise<void> {
  for (let at = from; at < to;) {
    const wait = breathe(signal);
    if (wait !== undefined) await wait;
    const beyond = at % mostBlockBytes;
    const reading = reader.read(fd, at, Math.min(to - at, reader.room.length - beyond));
    const bytes = typeof reading === "number" ? reading : await reading;
    // It has become shorter.
    if (bytes === 0) return;
    const read = reader.room.subarray(0, bytes);
    if (tags !== undefined) noteBlocks(tags, read, at);
    for (const { start, length } of changedRuns(sent, read, at)) {
      const part = reader.room.subarray(start, start + length);
      const isZero = part.compare(zeroBlock, 0, length) === 0;
      const offset = at + start;
      await writer.write(isZero ? { type: "zeros", offset, length } : { type: "chunk", offset, bytes: part });
    }
    at += bytes;
  }
}

/** Neighbouring blocks that were not sent like this, as one, as far as a record can be long. */
function* changedRuns(sent: BlockTags, bytes: Buffer, offset: number): Generator<{ start: number; length: number }> {
  let start = 0;
  let end = 0;
  for (let at = 0; at < bytes.length;) {
    const next = Math.min(bytes.length, at + sent.blockBytes - ((offset + at) % sent.blockBytes));
    if (!wasSent(sent, bytes, at, next - at, offset + at)) {
      if (end !== at || next - start > maxDataBytes) {
        if (end > start) yield { start, length: end - start };
        start = at;
      }
      end = next;
    }
    at = next;
  }
  if (end > start) yield { start, length: end - start };
}

interface DataRange {
  from: number;
  to: number;
}

/** The parts that are not holes. */
export function* dataOf({ fd, stat: { size } }: OpenContent): Generator<DataRange, void, void> {
  for (let at = 0; at < size;) {
    const from = seekData(fd, at);
    if (from === undefined || from >= size) return;
    at = holeAfter(fd, from, size);
    yield { from, to: at };
  }
}

/** Where the data at `from` ends, at most at `size`. */
function holeAfter(fd: number, from: number, size: number): number {
  try {
    return Math.min(seekHole(fd, from), size);
  } catch (error) {
    // Cut off before `from` since that was found: reading tells.
    if (hasErrno(error, "ENXIO")) return size;
    throw error;
  }
}

/** Whether a file that is not empty has no hole. One of a single block is data, if it has that block. */
export const isAllData = (fd: number, { size, blocks }: FileStat): boolean =>
  (size <= 4096 && blocks > 0) || (seekData(fd, 0) === 0 && holeAfter(fd, 0, size) >= size);
