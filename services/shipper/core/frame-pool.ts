/** Frames of full size that are used again: fresh memory for each would cost more than sending it. */
import { Buffer } from "node:buffer";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import { allocateJobFrame, jobHeaderBytes } from "../../shared/core/frames/job-message.ts";
import { chunkHeaderBytes } from "../../shared/core/frames/tree-record.ts";

/** A few bytes more than the data, so that a read of a whole block fits behind its header. */
const contentBytes = maxDataBytes + chunkHeaderBytes;
const frameBytes = jobHeaderBytes + contentBytes;
const mostFree = 40;

export const makeFullFrame = (): Buffer => allocateJobFrame(contentBytes);

export class FramePool {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(frameBytes);
  }

  /** Nobody looks at this frame any more; one that did not come from here is left alone. */
  release(frame: Buffer): void {
    const { buffer } = frame;
    if (buffer.byteLength === frameBytes && this.#free.length < mostFree) this.#free.push(Buffer.from(buffer));
  }
}
