/**
 * The writes to one file, in the background and in order: while one is under way, what comes is gathered, and goes with
 * the next as one. Bounded: beyond that the caller waits.
 */
import { writeSync, writev } from "node:fs";

/** Writes below this are done at once: handing them to a thread costs more than they do. */
const smallBytes = 64 * 1024;
/** What is gathered before the caller must wait, and goes in one write. */
const maxGatheredBytes = 1024 * 1024;

interface Batch {
  offset: number;
  buffers: Buffer[];
  bytes: number;
  done: Promise<void>;
  resolve: (done: undefined) => void;
  reject: (error: Error) => void;
}

export class FileWrites {
  readonly #fd: number;
  /** Under way, then those that wait; each begins where its first buffer belongs. */
  #batches: Batch[] = [];
  #failure: Error | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Settles once everything given so far is written; undefined when it is. */
  get writing(): Promise<void> | undefined {
    return this.#batches.at(-1)?.done;
  }

  /** Writes `bytes` at `offset`; they stay as they are until `writing` settles. Waits while much is under way. */
  add(bytes: Buffer, offset: number): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#batches.length === 0 && bytes.length <= smallBytes) {
      for (let done = 0; done < bytes.length;)
        done += writeSync(this.#fd, bytes, done, bytes.length - done, offset + done);
      return undefined;
    }
    const last = this.#batches.length > 1 ? this.#batches.at(-1) : undefined;
    if (last !== undefined && last.offset + last.bytes === offset && last.bytes < maxGatheredBytes) {
      last.buffers.push(bytes);
      last.bytes += bytes.length;
    } else this.#begin(bytes, offset);
    const [first] = this.#batches;
    const waiting = this.#batches.slice(1).reduce((sum, batch) => sum + batch.bytes, 0);
    return waiting >= maxGatheredBytes ? first?.done : undefined;
  }

  #begin(bytes: Buffer, offset: number): void {
    const { promise: done, resolve, reject } = Promise.withResolvers<undefined>();
    // Whoever waits looks at it; when nobody does, the next `add` tells.
    done.catch(() => undefined);
    this.#batches.push({ offset, buffers: [bytes], bytes: bytes.length, done, resolve, reject });
    if (this.#batches.length === 1) void this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      try {
        if (this.#failure !== undefined) throw this.#failure;
        await writeBatch(this.#fd, batch);
        this.#batches.shift();
        batch.resolve(undefined);
      } catch (error) {
        this.#failure = error instanceof Error ? error : new Error(String(error));
        this.#batches.shift();
        batch.reject(this.#failure);
      }
    }
  }
}

async function writeBatch(fd: number, { offset, buffers }: Batch): Promise<void> {
  let rest = buffers;
  for (let at = offset; rest.length > 0;) {
    const written = await writeOnce(fd, rest, at);
    if (written === 0) throw new Error("a write wrote nothing");
    at += written;
    rest = withoutFirst(rest, written);
  }
}

function withoutFirst(buffers: Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  let at = 0;
  for (; at < buffers.length; at++) {
    const { length = 0 } = buffers[at] ?? {};
    if (left < length) break;
    left -= length;
  }
  const rest = buffers.slice(at);
  if (rest[0] !== undefined) rest[0] = rest[0].subarray(left);
  return rest;
}

function writeOnce(fd: number, buffers: Buffer[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, buffers, position, (error, written) => (error === null ? resolve(written) : reject(error)));
  });
}
