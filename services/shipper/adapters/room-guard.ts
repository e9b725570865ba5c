/**
 * Leaves a host's file system some room, whatever a source sends: what is written is counted, and after each stretch the
 * file system is looked at. A plan asks for more than is kept (planner/core/room.ts).
 */
import { statfsSync, type StatsFs } from "node:fs";

/** Written between two looks; a file or directory counts as a block. */
const stretchBytes = 16 << 20;
const entryBytes = 4096;
/** What stays free: this much, or this part of a small file system. Of files as many parts. */
const mostKeptBytes = 16 << 20;
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

  /** Whether there is room for more, after `bytes` and `entries` files and directories were written or are about to be. */
  hasRoomAfter(bytes: number, entries = 0): boolean {
    this.#bytes += bytes + entries * entryBytes;
    if (this.#bytes < stretchBytes) return true;
    this.#bytes = 0;
    const { bavail, bsize, blocks, files, ffree } = this.#look(this.#path);
    const kept = Math.min(mostKeptBytes, (blocks * bsize) / keptPart);
    // Some file systems do not count files.
    return bavail * bsize >= kept && (files === 0 || ffree >= files / keptPart);
  }
}
