/**
 * Mode, owner and times of an entry as records have them:
 *
 *     u32 mode, u32 uid, u32 gid, then the times of access and change as two struct timespec (i64 seconds, i64 nanoseconds)
 */
import type { FileTime } from "../file-time.ts";
import { FrameError } from "./frame.ts";

export interface Attributes {
  /** Type and permission bits. */
  mode: number;
  uid: number;
  gid: number;
  access: FileTime;
  modify: FileTime;
}

/** Where the times begin, and how long all of it is. */
export const timesOffset = 12;
const timeBytes = 16;
export const attributesBytes = timesOffset + 2 * timeBytes;

/** Answers where they end. */
export function writeAttributes(buffer: Buffer, at: number, { mode, uid, gid, access, modify }: Attributes): number {
  buffer.writeUInt32LE(mode, at);
  buffer.writeUInt32LE(uid, at + 4);
  buffer.writeUInt32LE(gid, at + 8);
  writeTime(buffer, at + timesOffset, access);
  writeTime(buffer, at + timesOffset + timeBytes, modify);
  return at + attributesBytes;
}

/** By far faster than Buffer's own way with 64 bits. */
function writeTime(buffer: Buffer, at: number, { seconds, nanos }: FileTime): void {
  buffer.writeUInt32LE(seconds >>> 0, at);
  buffer.writeInt32LE(Math.floor(seconds / 2 ** 32), at + 4);
  buffer.writeUInt32LE(nanos, at + 8);
  buffer.writeUInt32LE(0, at + 12);
}

/** Throws FrameError on a time that is none. */
export function readAttributes(view: DataView, at: number): Attributes {
  checkTimes(view, at);
  return {
    mode: view.getUint32(at, true),
    uid: view.getUint32(at + 4, true),
    gid: view.getUint32(at + 8, true),
    access: readTime(view, at + timesOffset),
    modify: readTime(view, at + timesOffset + timeBytes),
  };
}

function readTime(view: DataView, at: number): FileTime {
  const seconds = view.getUint32(at, true) + view.getInt32(at + 4, true) * 2 ** 32;
  return { seconds, nanos: view.getUint32(at + 8, true) };
}

/** Nanoseconds beyond a second mean other things than times to the system's calls. */
export function checkTimes(view: DataView, at: number): void {
  for (const time of [at + timesOffset, at + timesOffset + timeBytes])
    if (view.getUint32(time + 8, true) > 999_999_999 || view.getUint32(time + 12, true) !== 0)
      throw new FrameError("a time that is none");
}
