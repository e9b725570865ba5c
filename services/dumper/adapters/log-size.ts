/** How large a container's log is, and how fast it grows; as far as Docker keeps it in files of its own (container-log.ts). */
import { constants } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import { jsonLogLimits } from "../../shared/adapters/container-log.ts";
import type { ContainerLog } from "../../shared/contracts/container.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { Inspected } from "./engine.ts";

/** What was written last, and tells how fast. */
const tailBytes = 1 << 20;
/** Room that was left over where the log came from is a long row of spaces, of which so much is enough to be known by. */
const probeBytes = 512;
const leastProbeStep = 64 * 1024;
/** A log of many gigabytes is looked at here and there: each look may be a seek of a disk. */
const mostProbes = 1_000;

/** Undefined for a log that does not move. `now`: milliseconds since the epoch. */
export async function measureLog({ LogPath, HostConfig }: Inspected, now: number): Promise<ContainerLog | undefined> {
  const limits = jsonLogLimits(HostConfig.LogConfig ?? {});
  if (limits === undefined || !LogPath.startsWith("/")) return undefined;
  let handle: FileHandle;
  try {
    handle = await open(LogPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // Docker opens the file when it starts the container. A link leads to where its owner keeps it, by other rules.
    if (hasErrno(error, "ENOENT", "ELOOP")) return undefined;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const rotated = Array.from({ length: limits.maxFiles - 1 }, (_, at) => `${LogPath}.${at + 1}`);
    const sizes = await Promise.all(rotated.flatMap((name) => [sizeOf(name), sizeOf(`${name}.gz`)]));
    return {
      bytes: size - (await paddingBytes(handle, size)),
      rotatedBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
      bytesPerSecond: bytesPerSecond(await readTail(handle, size), now),
      limited: limits.maxBytes !== undefined,
    };
  } finally {
    await handle.close();
  }
}

/** Bytes a second of what the end of a log was written in; 0 when nothing was, lately. */
export function bytesPerSecond(tail: string, now: number): number {
  const first = /"time":"([^"]{20,40})"\}\n/.exec(tail);
  const since = Date.parse(first?.[1] ?? "");
  if (first === null || Number.isNaN(since)) return 0;
  // A line that was written just now says nothing of a whole second.
  return Math.round((tail.length - first.index) / Math.max(1, (now - since) / 1000));
}

async function readTail(handle: FileHandle, size: number): Promise<string> {
  const from = Math.max(0, size - tailBytes);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
  return buffer.toString("latin1", 0, bytesRead);
}

/** Nearly: less by up to two of the steps in which it is looked for, and never more, lest the log be given too little room. */
async function paddingBytes(handle: FileHandle, size: number): Promise<number> {
  const step = Math.max(leastProbeStep, Math.ceil(size / mostProbes));
  const probe = Buffer.alloc(probeBytes);
  const empty = Buffer.alloc(probeBytes, " ");
  let bytes = 0;
  let wasEmpty = false;
  for (let at = 0; at + step <= size; at += step) {
    await handle.read(probe, 0, probeBytes, at);
    const isEmpty = probe.equals(empty);
    if (isEmpty && wasEmpty) bytes += step;
    wasEmpty = isEmpty;
  }
  return bytes;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return 0;
    throw error;
  }
}
