/** Compresses a job's frames with zstd where that makes the transfer faster (core/compression-choice.ts). */
import { zstdCompress, zstdDecompress } from "node:zlib";
import { packing, unpacking } from "../../shared/adapters/zstd.ts";
import { FrameError } from "../../shared/core/frames/frame.ts";
import { allocateJobFrame, jobDataFlags, jobHeaderBytes } from "../../shared/core/frames/job-message.ts";
import { messageOf } from "../../shared/errors.ts";
import { CompressionChoice } from "../core/compression-choice.ts";
import { LinkMeter, type Carried } from "../core/link-meter.ts";

/** Smaller frames are not worth the thread's while. */
const leastBytes = 4096;

export class FrameCompressor {
  readonly #choice: CompressionChoice;
  readonly #meter: LinkMeter;

  constructor(wanted: boolean) {
    this.#choice = new CompressionChoice(wanted);
    this.#meter = new LinkMeter(this.#choice);
  }

  /** `waiting`: frames wait for the link just now. */
  async pack(frame: Buffer, waiting: boolean): Promise<{ frame: Buffer; flags: number }> {
    const bytes = frame.subarray(jobHeaderBytes);
    const plain = { frame, flags: 0 };
    if (bytes.length < leastBytes || !this.#choice.next(waiting)) return plain;
    const started = performance.now();
    const compressed = await compress(bytes);
    const ms = performance.now() - started;
    if (!this.#choice.noteCompressed({ bytesIn: bytes.length, bytesOut: compressed.length, ms })) return plain;
    const packed = allocateJobFrame(compressed.length);
    compressed.copy(packed, jobHeaderBytes);
    return { frame: packed, flags: jobDataFlags.zstd };
  }

  /** The link was measured, with bytes that were not compressed. */
  noteLink(bytesPerSecond: number): void {
    this.#choice.noteMeasured(bytesPerSecond / 1_000);
  }

  /** Whether small files of so many bytes wait for the link rather than for processors. */
  linkHoldsUp(bytes: number): boolean {
    return this.#choice.linkHoldsUp(bytes);
  }

  /** So much has crossed the link; `waiting`: frames wait for it just now. */
  noteApplied(carried: Carried, waiting: boolean): void {
    this.#meter.note(carried, waiting, performance.now());
  }
}

function compress(bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zstdCompress(bytes, packing, (error, result) => (error === null ? resolve(result) : reject(error)));
  });
}

/** A frame's data as it was. Throws FrameError when it is not that, or larger than a frame can be. */
export function unpack(bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zstdDecompress(bytes, unpacking, (error, result) =>
      error === null ? resolve(result) : reject(new FrameError(`a compressed frame is broken: ${messageOf(error)}`)),
    );
  });
}
