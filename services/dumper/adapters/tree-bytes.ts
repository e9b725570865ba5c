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

/** Bytes that the files take on the disk, of those that were there when they were looked at. */
export async function treeBytes(path: string, signal: AbortSignal): Promise<number> {
  let seen = 0;
  const add = async (fd: number, depth: number): Promise<number> => {
    let bytes = 0;
    for (const name of readDirectory(fd)) {
      if (++seen % stretch === 0) await setImmediate(undefined, { signal });
      const stat = unlessChanged(() => statAt(fd, name));
      const type = (stat?.mode ?? 0) & fileType;
      if (type === types.file) bytes += (stat?.blocks ?? 0) * blockBytes;
      if (type !== types.directory || depth === maxDepth) continue;
      const childFd = unlessChanged(() => openBeneath(fd, name, directoryFlags));
      if (childFd === undefined) continue;
      try {
        bytes += await add(childFd, depth + 1);
      } finally {
        close(childFd);
      }
    }
    return bytes;
  };
  const fd = openTrustedDirectory(path);
  try {
    return await add(fd, 0);
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
