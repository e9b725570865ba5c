/**
 * What a container's writable layer has on the destination that the source's does not mention. Only things of its own
 * can go by removing them in the merged mount: where a lower layer has the same name, removing would hide that too.
 */
import {
  close,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  readDirectory,
  statAt,
} from "../../shared/adapters/linux.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { removeTree } from "./remove-tree.ts";
import { directoryFlagsToOpen, kindOf } from "./snapshot.ts";

export class LayerLeftovers {
  readonly #upperFd: number;
  readonly #lowerFds: number[] = [];

  constructor(upperPath: string, lowerPaths: readonly string[]) {
    this.#upperFd = openTrustedDirectory(upperPath);
    for (const path of lowerPaths) this.#lowerFds.push(openTrustedDirectory(path));
  }

  /** Names in the upper layer's directory at `path`; none when it has no such directory. */
  names(path: readonly Buffer[]): Buffer[] {
    const fd = openPath(this.#upperFd, path);
    if (fd === undefined) return [];
    try {
      return [...readDirectory(fd)];
    } finally {
      if (fd !== this.#upperFd) close(fd);
    }
  }

  /** Removes a leftover through the merged directory `mergedFd`. Throws `transfer-failed` where only Docker could. */
  remove(mergedFd: number, path: readonly Buffer[], name: Buffer): void {
    const full = [...path, name];
    if (!this.#lowerHas(full)) {
      removeTree(mergedFd, name);
      return;
    }
    const parentFd = openPath(this.#upperFd, path);
    const kind = parentFd === undefined ? undefined : kindOf(statAt(parentFd, name), true);
    if (parentFd !== undefined && parentFd !== this.#upperFd) close(parentFd);
    if (kind !== "directory")
      throw new DmigrateError(
        "transfer-failed",
        `the destination container has changed /${Buffer.concat(full.flatMap((part) => [part, Buffer.from("/")])).toString()} ` +
          "before it ever ran; remove that container and migrate again",
      );
    const childFd = openBeneath(mergedFd, name, directoryFlagsToOpen);
    try {
      for (const child of this.names(full)) this.remove(childFd, full, child);
    } finally {
      close(childFd);
    }
  }

  close(): void {
    for (const fd of [this.#upperFd, ...this.#lowerFds]) close(fd);
  }

  #lowerHas(path: readonly Buffer[]): boolean {
    return this.#lowerFds.some((lowerFd) => {
      const parentFd = openPath(lowerFd, path.slice(0, -1));
      if (parentFd === undefined) return false;
      try {
        statAt(parentFd, path.at(-1) ?? Buffer.alloc(0));
        return true;
      } catch (error) {
        if (hasErrno(error, "ENOENT")) return false;
        throw error;
      } finally {
        if (parentFd !== lowerFd) close(parentFd);
      }
    });
  }
}

/** A directory beneath another, component by component; undefined when it is not there, or no directory. */
function openPath(rootFd: number, path: readonly Buffer[]): number | undefined {
  let fd = rootFd;
  for (const name of path) {
    let next: number;
    try {
      next = openBeneath(fd, name, openFlags.readOnly | openFlags.directory);
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    } finally {
      if (fd !== rootFd) close(fd);
    }
    fd = next;
  }
  return fd;
}
