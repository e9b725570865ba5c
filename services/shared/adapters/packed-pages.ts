/** The payload of a `pages` frame with zstd around it: where the link is slower than both ends' processors. */
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { messageOf } from "../errors.ts";
import { allocateFrame, FrameError, frameHeaderBytes } from "../core/frames/frame.ts";
import { packing, unpacking } from "./zstd.ts";

/** A frame with the packed payload of `frame`, both as `allocateFrame` makes them. */
export function packFrame(frame: Buffer): Buffer {
  const packed = zstdCompressSync(frame.subarray(frameHeaderBytes), packing);
  const result = allocateFrame(packed.length);
  packed.copy(result, frameHeaderBytes);
  return result;
}

/** The payload as it was. Throws FrameError when it is not that, or larger than a frame can be. */
export function unpackPayload(payload: Buffer): Buffer {
  try {
    return zstdDecompressSync(payload, unpacking);
  } catch (error) {
    throw new FrameError(`a compressed answer is broken: ${messageOf(error)}`);
  }
}
