/** Sends what is in an open file: its data and not its holes, or only what differs from what was sent before. */
import { seekData, seekHole, type FileStat } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { SentFile } from "../core/sent-blocks.ts";
import type { BlockCopies } from "./block-copies.ts";
import { blockBytes, noteBlock, wasSent } from "./block-tags.ts";
import type { Judge, RecordWriter } from "./record-writer.ts";

export interface ContentOptions {
  fd: number;
  stat: FileStat;
  writer: RecordWriter;
  signal: AbortSignal;
}

/** How much of a file is sent between two looks at the signal. */
const rangeBytes = 16 << 20;

/** What is made of the blocks that are sent. */
export interface BlockNotes {
  /** Of the file: what its blocks were. */
  tags: Buffer | undefined;
  /** Of the pass: what blocks may be copied from, and this file, if others may be copied from it. */
  copies?: BlockCopies | undefined;
  origin?: SentFile | undefined;
}

/** Sends all of it, but what was sent before in the same pass only by where that is. */
export async function sendContent(options: ContentOptions, { tags, copies, origin }: BlockNotes): Promise<void> {
  if (origin !== undefined) await options.writer.write({ type: "origin", number: origin.number });
  const judge: Judge = (block, offset, isZero) => {
    if (tags !== undefined) noteBlock(tags, block, offset);
    const found = isZero ? undefined : copies?.find(block, origin, offset);
    return found?.then((original) => original && { type: "copy", offset, length: block.length, ...original });
  };
  const judging = tags !== undefined || copies !== undefined ? judge : undefined;
  for (const { from, to } of dataOf(options)) await sendRange(options, from, to, judging);
}

/** Sends what differs from what was sent before, and all holes. */
export async function sendChanges(options: ContentOptions, sent: Buffer): Promise<void> {
  const { writer, stat } = options;
  const judge: Judge = (block, offset) => (wasSent(sent, block, offset) ? "skip" : undefined);
  let end = 0;
  for (const { from, to } of dataOf(options)) {
    if (from > end) await writer.write({ type: "hole", offset: end, length: from - end });
    await sendRange(options, from, to, judge);
    end = to;
  }
  if (stat.size > end) await writer.write({ type: "hole", offset: end, length: stat.size - end });
}

/** In whole blocks but for the ends, where they are to be compared. */
async function sendRange(
  { fd, writer, signal }: ContentOptions,
  from: number,
  to: number,
  judge?: Judge,
): Promise<void> {
  for (let at = from; at < to;) {
    signal.throwIfAborted();
    const beyond = judge === undefined ? 0 : at % blockBytes;
    const end = Math.min(to, beyond === 0 ? at + rangeBytes : at + blockBytes - beyond);
    // It has become shorter: there is no more of it.
    if ((await writer.writeFileRange(fd, at, end - at, judge)) < end - at) return;
    at = end;
  }
}

/** The parts that are not holes. */
function* dataOf({ fd, stat: { size } }: ContentOptions): Generator<{ from: number; to: number }, void, void> {
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
