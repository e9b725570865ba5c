/**
 * Leaves a host's file system some room, whatever a source sends: what is written is counted, and after each stretch the
 * file system is looked at. A plan asks for more than is kept (planner/core/room.ts).
 */
import { statfsSync, type StatsFs } from "node:fs";
import type { Shortage } from "../core/no-room.ts";

/** Written between two looks; a file or directory counts as a block. */
const stretchBytes = 16 << 20;
const entryBytes = 4096;
/** What stays free: this much, or this part of a small file system. */
const mostKeptBytes = 16 << 20;
/** The same of inodes: what a stretch takes at most. */
const mostKeptInodes = stretchBytes / entryBytes;
const keptPart = 64;

type FileSystem = Pick<StatsFs, "bavail" | "bsize" | "blocks" | "files" | "ffree">;

export class RoomGuard {
  readonly #path: string;
  readonly #look: (path: string) => FileSystem;
  /** The first look is at once. */
  #bytes = stretchBytes;

  /** `path`: anything on the file system. */
  constructor(path: string, look: (path: string) => FileSystem = statfsSync) {
    this.#path = path;
    this.#look = look;
  }

  /** What there is too little of, after `bytes` and `entries` files and directories were written or are about to be. */
  shortageAfter(bytes: number, entries = 0): Shortage | undefined {
    this.#bytes += bytes + entries * entryBytes;
    if (this.#bytes < stretchBytes) return undefined;
    this.#bytes = 0;
    const { bavail, bsize, blocks, files, ffree } = this.#look(this.#path);
    if (bavail * bsize < Math.min(mostKeptBytes, (blocks * bsize) / keptPart)) return "bytes";
    // Some file systems do not count files.
    return files === 0 || ffree >= Math.min(mostKeptInodes, files / keptPart) ? undefined : "inodes";
  }

  /** What has run out, once the file system has said ENOSPC. */
  shortageNow(): Shortage {
    const { files, ffree } = this.#look(this.#path);
    return files > 0 && ffree === 0 ? "inodes" : "bytes";
  }
}
