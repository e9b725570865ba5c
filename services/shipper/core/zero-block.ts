/** The largest block of a file's data, all zeros: to compare with, and to write. */
import { maxDataBytes } from "../../shared/core/frames/frame.ts";

export const zeroBlock: Buffer = Buffer.alloc(maxDataBytes);
