/** Packs records into frames: small ones share a frame, a large file's data fills its own. */
import { readSync, readv } from "node:fs";
import { readTo } from "../../shared/adapters/calls-by-address.ts";
import { addressOf } from "../../shared/adapters/fixed-memory.ts";
import type { Attributes } from "../../shared/core/frames/attributes.ts";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import { jobHeaderBytes } from "../../shared/core/frames/job-message.ts";
import {
  chunkHeaderBytes,
  recordBytes,
  writeChunkHeader,
  writeRecord,
  type TreeRecord,
} from "../../shared/core/frames/tree-record.ts";
import { smallHeadBytes, writeSmallHead } from "../../shared/core/frames/small-file.ts";
import { zeroBlock } from "../core/zero-block.ts";
import type { JobWork } from "../file-jobs.ts";

/** Reads below this are done at once: handing them to a thread costs more than they do. */
const smallReadBytes = 64 * 1024;
const framesAtOnce = 4;
const fileEnd = { type: "fileEnd" } as const;
/** Where a frame's only chunk has its bytes. */
const blockAt = jobHeaderBytes + chunkHeaderBytes;

/** What becomes of a block of a file, if it is not simply sent: a record goes in its place. */
type Verdict = TreeRecord | undefined;
/** Is asked about all that is in a small file: what goes instead of it, shorter by four bytes at least. */
export type WholeJudge = (bytes: Buffer) => TreeRecord | undefined;
/** Is asked about each; the block stays the writer's. */
export type Judge = (block: Buffer, offset: number, isZero: boolean) => Verdict | Promise<Verdict>;

export class RecordWriter {
  readonly #send: (frame: Buffer) => Promise<void>;
  readonly #takeFrame: () => Buffer;
  #frame: Buffer | undefined;
  #address = 0;
  #end = jobHeaderBytes;
  /** Frames that were read into for nothing: a few, used next. */
  readonly #spare: Buffer[] = [];

  /** `send` takes each full frame, and waits while the connection is busy; `takeFrame` gives new ones. */
  constructor({ send, takeFrame }: Pick<JobWork, "send" | "takeFrame">) {
    this.#send = send;
    this.#takeFrame = takeFrame;
  }

  /** Undefined when it went into the frame under way; otherwise to be awaited. */
  write(record: TreeRecord): Promise<void> | undefined {
    const frame = this.#frame;
    if (frame !== undefined && this.hasRoom(recordBytes(record))) {
      this.#end = writeRecord(frame, this.#end, record);
      return undefined;
    }
    return this.#writeToNew(record);
  }

  /** Whether so many bytes of records fit into the frame under way: then nothing has to be awaited. */
  hasRoom(bytes: number): boolean {
    return this.#frame !== undefined && this.#end + bytes <= this.#frame.length;
  }

  /**
   * Sends a file that has no holes and no attributes of its own in one record, at once; false when the frame has no room
   * for it. One that has become shorter than `size` is sent so.
   */
  writeSmallFile(fd: number, name: Buffer, attributes: Attributes, size: number, judge?: WholeJudge): boolean {
    const frame = this.#frame;
    if (frame === undefined || !this.hasRoom(smallHeadBytes(name.length) + size)) return false;
    const dataAt = writeSmallHead(frame, this.#end, name, attributes, size);
    const bytes = size === 0 ? 0 : readTo(fd, this.#address + dataAt, size, 0);
    const verdict = judge?.(frame.subarray(dataAt, dataAt + bytes));
    if (verdict !== undefined) {
      for (const record of [{ type: "file", name, attributes, size: bytes } as const, verdict, fileEnd])
        this.#end = writeRecord(frame, this.#end, record);
      return true;
    }
    if (bytes < size) writeSmallHead(frame, this.#end, name, attributes, bytes);
    this.#end = dataAt + bytes;
    return true;
  }

  /** Begins a frame that has room for a small file. */
  async makeRoom(name: Buffer, size: number): Promise<void> {
    await this.#roomFor(smallHeadBytes(name.length) + size);
  }

  /** Sends a small file's bytes, at once: there is room. Answers how many there were: fewer where the file ended. */
  writeSmall(fd: number, from: number, length: number): number {
    const frame = this.#frame;
    const bytesAt = this.#end + chunkHeaderBytes;
    if (frame === undefined || bytesAt + length > frame.length) throw new RangeError("no room for a small file");
    const bytes = readSync(fd, frame, bytesAt, length, from);
    if (bytes > 0) this.#endChunk(frame, from, bytes);
    return bytes;
  }

  /**
   * Sends `length` bytes of a file from `from` on, as chunks. `judge` is asked about each block of a large part, or of any
   * part with `judgeAll`. Answers how many bytes there were: fewer where the file ended.
   */
  async writeFileRange(fd: number, from: number, length: number, judge?: Judge, judgeAll = false): Promise<number> {
    const smallBytes = judgeAll ? 0 : smallReadBytes;
    let done = 0;
    while (done < length) {
      const wanted = length - done;
      if (wanted <= smallBytes) await this.#roomFor(chunkHeaderBytes + wanted);
      const bytes =
        wanted <= smallBytes
          ? this.writeSmall(fd, from + done, wanted)
          : await this.#writeBlocks(fd, from + done, wanted, judge);
      if (bytes === 0) break;
      done += bytes;
    }
    return done;
  }

  /** Fills several frames with one read: each has its price, whatever its size. */
  async #writeBlocks(fd: number, from: number, wanted: number, judge?: Judge): Promise<number> {
    await this.flush();
    const frames: Buffer[] = [];
    const blocks: Buffer[] = [];
    for (let asked = 0; asked < wanted && frames.length < framesAtOnce; asked += maxDataBytes) {
      const frame = this.#spare.pop() ?? this.#takeFrame();
      frames.push(frame);
      blocks.push(frame.subarray(blockAt, blockAt + Math.min(maxDataBytes, wanted - asked)));
    }
    const bytes = await readInto(fd, blocks, from);
    for (const [at, frame] of frames.entries()) {
      const offset = at * maxDataBytes;
      const taken = Math.min(maxDataBytes, bytes - offset);
      if (taken <= 0) {
        this.#spare.push(frame);
        continue;
      }
      const zero = isZero(frame, taken);
      const judging = judge?.(frame.subarray(blockAt, blockAt + taken), from + offset, zero);
      let verdict = judging instanceof Promise ? await judging : judging;
      if (verdict === undefined && zero) verdict = { type: "zeros", offset: from + offset, length: taken };
      if (verdict !== undefined) {
        await this.write(verdict);
        this.#spare.push(frame);
        continue;
      }
      // The last one may have room for what comes next.
      await this.flush();
      this.#begin(frame);
      this.#endChunk(frame, from + offset, taken);
    }
    return bytes;
  }

  #endChunk(frame: Buffer, offset: number, bytes: number): void {
    writeChunkHeader(frame, this.#end, offset, bytes);
    this.#end += chunkHeaderBytes + bytes;
  }

  /** Sends what is packed so far. */
  async flush(): Promise<void> {
    const frame = this.#frame;
    if (frame === undefined || this.#end === jobHeaderBytes) return;
    this.#frame = undefined;
    await this.#send(frame.subarray(0, this.#end));
  }

  async #writeToNew(record: TreeRecord): Promise<void> {
    const frame = await this.#roomFor(recordBytes(record));
    this.#end = writeRecord(frame, this.#end, record);
  }

  async #roomFor(bytes: number): Promise<Buffer> {
    if (this.#frame !== undefined && this.hasRoom(bytes)) return this.#frame;
    await this.flush();
    const frame = this.#takeFrame();
    this.#begin(frame);
    return frame;
  }

  #begin(frame: Buffer): void {
    this.#frame = frame;
    this.#address = addressOf(frame);
    this.#end = jobHeaderBytes;
  }
}

/** The first byte that is none ends it, so for most blocks it costs nothing. */
const isZero = (frame: Buffer, length: number): boolean =>
  frame.compare(zeroBlock, 0, length, blockAt, blockAt + length) === 0;

function readInto(fd: number, buffers: Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    readv(fd, buffers, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
