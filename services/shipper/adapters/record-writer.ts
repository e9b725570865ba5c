/** Packs records into frames: small ones share a frame, a large file's data fills its own. */
import { read, readSync } from "node:fs";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import { jobHeaderBytes } from "../../shared/core/frames/job-message.ts";
import {
  chunkHeaderBytes,
  recordBytes,
  writeChunkHeader,
  writeRecord,
  type TreeRecord,
} from "../../shared/core/frames/tree-record.ts";
import type { JobWork } from "../file-jobs.ts";

/** Reads below this are done at once: handing them to a thread costs more than they do. */
const smallReadBytes = 64 * 1024;
/** Rather than a chunk shorter than this, a new frame is begun. */
const minChunkBytes = 32 * 1024;

export class RecordWriter {
  readonly #send: (frame: Buffer) => Promise<void>;
  readonly #takeFrame: () => Buffer;
  #frame: Buffer | undefined;
  #end = jobHeaderBytes;

  /** `send` takes each full frame, and waits while the connection is busy; `takeFrame` gives new ones. */
  constructor({ send, takeFrame }: Pick<JobWork, "send" | "takeFrame">) {
    this.#send = send;
    this.#takeFrame = takeFrame;
  }

  /** Undefined when it went into the frame under way; otherwise to be awaited. */
  write(record: TreeRecord): Promise<void> | undefined {
    const frame = this.#frame;
    if (frame !== undefined && this.#end + recordBytes(record) <= frame.length) {
      this.#end = writeRecord(frame, this.#end, record);
      return undefined;
    }
    return this.#writeToNew(record);
  }

  /**
   * Sends `length` bytes of a file from `from` on, as chunks. Answers how many there were: fewer where the file ended.
   */
  async writeFileRange(fd: number, from: number, length: number): Promise<number> {
    let done = 0;
    while (done < length) {
      const wanted = length - done;
      const frame = await this.#roomFor(chunkHeaderBytes + Math.min(wanted, minChunkBytes));
      const bytesAt = this.#end + chunkHeaderBytes;
      const asked = Math.min(wanted, frame.length - bytesAt, maxDataBytes);
      const bytes =
        asked <= smallReadBytes
          ? readSync(fd, frame, bytesAt, asked, from + done)
          : await readAsync(fd, frame, bytesAt, asked, from + done);
      if (bytes === 0) break;
      writeChunkHeader(frame, this.#end, from + done, bytes);
      this.#end = bytesAt + bytes;
      done += bytes;
    }
    return done;
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
    if (this.#frame !== undefined && this.#end + bytes <= this.#frame.length) return this.#frame;
    await this.flush();
    this.#frame = this.#takeFrame();
    this.#end = jobHeaderBytes;
    return this.#frame;
  }
}

function readAsync(fd: number, buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, offset, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
