/** Removes names beneath directory descriptors: no link is followed, no mount crossed. */
import { close, openBeneath, readDirectory, removeAt } from "../../shared/adapters/linux.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { directoryFlagsToOpen, maxDepth } from "./snapshot.ts";

/** Removes `name` with all that is in it; nothing happens when it is not there. */
export function removeTree(dirFd: number, name: Buffer, depth = 0): void {
  try {
    removeAt(dirFd, name, "file");
    return;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return;
    // POSIX lets unlink of a directory fail with EPERM; Linux says EISDIR.
    if (!hasErrno(error, "EISDIR", "EPERM")) throw error;
  }
  if (depth > maxDepth)
    throw new DmigrateError("transfer-failed", `directories more than ${maxDepth} deep are in the way`);
  const fd = openBeneath(dirFd, name, directoryFlagsToOpen);
  try {
    for (const child of [...readDirectory(fd)]) removeTree(fd, child, depth + 1);
  } finally {
    close(fd);
  }
  removeAt(dirFd, name, "directory");
}
