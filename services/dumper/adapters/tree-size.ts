/**
 * Adds up the files of a directory that a container may be changing in any way meanwhile: each directory is opened in
 * its parent, no link followed, no mount crossed. `du` is faster, but gives up where directories become something else.
 */
import { setImmediate } from "node:timers/promises";
import {
  close,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  readDirectory,
  statAt,
} from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";

const directoryFlags = openFlags.readOnly | openFlags.directory | openFlags.nonBlock;
const fileType = 0o170000;
const types = { directory: 0o040000, file: 0o100000 };
/** The unit of a stat's blocks. */
const blockBytes = 512;
/** Each level holds a descriptor; what lies deeper is not counted. */
const maxDepth = 500;
/** Entries looked at without a pause. */
const stretch = 1_000;

/** What a tree takes on a disk. */
export interface TreeSize {
  /** Of its files. */
  bytes: number;
  /** Of all that has a name in it, and its own. */
  inodes: number;
}

/**
 * Adds up what was there when it was looked at; a file counts once for each of its names. Throws what `signal` was aborted
 * with, and what the file system throws.
 */
export async function treeSize(path: string, signal: AbortSignal): Promise<TreeSize> {
  const size: TreeSize = { bytes: 0, inodes: 1 };
  const add = async (fd: number, depth: number): Promise<void> => {
    for (const name of readDirectory(fd)) {
      if (++size.inodes % stretch === 0) await setImmediate(undefined, { signal });
      const stat = unlessChanged(() => statAt(fd, name));
      const type = (stat?.mode ?? 0) & fileType;
      if (type === types.file) size.bytes += (stat?.blocks ?? 0) * blockBytes;
      if (type !== types.directory || depth === maxDepth) continue;
      const childFd = unlessChanged(() => openBeneath(fd, name, directoryFlags));
      if (childFd === undefined) continue;
      try {
        await add(childFd, depth + 1);
      } finally {
        close(childFd);
      }
    }
  };
  const fd = openTrustedDirectory(path);
  try {
    await add(fd, 0);
    return size;
  } finally {
    close(fd);
  }
}

/** Undefined where something else has the name by now, or another file system begins. */
function unlessChanged<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV")) return undefined;
    throw error;
  }
}
