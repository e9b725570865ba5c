/**
 * Payload of a `memoryMap` frame: which pages of one process the source has, told before CRIU's images are there.
 *
 *     u32 pid, then for each run of pages: u64 first page, u32 pages
 */
import { allocateFrame, FrameError, frameHeaderBytes, maxDataBytes } from "./frame.ts";
import type { PageRange } from "../criu/process-images.ts";

export interface MemoryMap {
  /** Pid inside the container. */
  pid: number;
  runs: PageRange[];
}

const runBytes = 12;
const headBytes = 4;
const maxRuns = Math.floor((maxDataBytes - headBytes) / runBytes);
/** Pages of a user address space of 57 bits. */
const maxPages = 2 ** 45;

/** As many frames as the runs need. */
export function encodeMemoryMap({ pid, runs }: MemoryMap): Buffer[] {
  const frames: Buffer[] = [];
  for (let from = 0; from < runs.length; from += maxRuns) {
    const part = runs.slice(from, from + maxRuns);
    const frame = allocateFrame(headBytes + part.length * runBytes);
    let at = frame.writeUInt32LE(pid, frameHeaderBytes);
    for (const { page, pages } of part) {
      at = frame.writeBigUInt64LE(BigInt(page), at);
      at = frame.writeUInt32LE(Math.min(pages, 0xffff_ffff), at);
    }
    frames.push(frame);
  }
  return frames;
}

/** Throws FrameError. */
export function decodeMemoryMap(payload: Buffer): MemoryMap {
  if (payload.length < headBytes || (payload.length - headBytes) % runBytes !== 0)
    throw new FrameError("a memory map is cut short");
  const runs: PageRange[] = [];
  for (let at = headBytes; at < payload.length; at += runBytes) {
    const page = Number(payload.readBigUInt64LE(at));
    const pages = payload.readUInt32LE(at + 8);
    if (pages === 0 || page + pages > maxPages) throw new FrameError("a memory map has an impossible run");
    runs.push({ page, pages });
  }
  return { pid: payload.readUInt32LE(0), runs };
}
