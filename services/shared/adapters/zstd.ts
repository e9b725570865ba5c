/** How data on its way is compressed: as fast as can be, a frame at a time. */
import { constants } from "node:zlib";
import { maxPayloadBytes } from "../core/frames/frame.ts";

/** Room for all that comes of a frame: zlib works through it in one step, not in many that each change threads. */
const chunkSize = maxPayloadBytes;

/** The fastest level: what is gained is time. */
export const packing = { chunkSize, params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** No more comes of it than a frame can hold. */
export const unpacking = { chunkSize, maxOutputLength: maxPayloadBytes };
