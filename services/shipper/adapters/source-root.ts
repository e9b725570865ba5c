/**
 * A source tree's root, opened so that no device in it can be: what a container swaps in for a file that is about to be
 * read may be a device, and some act on being opened (a watchdog starts). Where the kernel offers no such mount, a file
 * is opened without effect first (O_PATH), looked at, and opened again; that takes twice the time.
 */
import {
  close,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  openWithoutDevices,
  reopen,
  statAt,
  statDescriptor,
} from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import { directoryFlagsToOpen, kindOf } from "./snapshot.ts";

const readFlags = openFlags.readOnly | openFlags.nonBlock | openFlags.noAccessTime;

export class SourceRoot {
  readonly fd: number;
  /** What the mount without devices lives by. */
  readonly #mount: number | undefined;

  /** `path` is trusted, such as one from Docker. */
  constructor(path: string) {
    const fd = openTrustedDirectory(path);
    this.#mount = openWithoutDevices(fd);
    if (this.#mount === undefined) {
      this.fd = fd;
      return;
    }
    try {
      this.fd = openBeneath(this.#mount, Buffer.from("."), directoryFlagsToOpen);
    } catch (error) {
      close(this.#mount);
      throw error;
    } finally {
      close(fd);
    }
  }

  /** Opens a file to read it. What is no plain file gives a descriptor that shows it, or undefined; no device is opened. */
  openFile(dirFd: number, name: Buffer): number | undefined {
    if (this.#mount !== undefined) return this.#openAtOnce(dirFd, name);
    const pathFd = openBeneath(dirFd, name, openFlags.pathOnly);
    try {
      return kindOf(statDescriptor(pathFd), false) === "file" ? reopen(pathFd, readFlags) : undefined;
    } finally {
      close(pathFd);
    }
  }

  #openAtOnce(dirFd: number, name: Buffer): number | undefined {
    try {
      return openBeneath(dirFd, name, readFlags);
    } catch (error) {
      // A device, or a socket.
      if (hasErrno(error, "EACCES", "ENXIO") && kindOf(statAt(dirFd, name), false) !== "file") return undefined;
      throw error;
    }
  }

  close(): void {
    close(this.fd);
    if (this.#mount !== undefined) close(this.#mount);
  }
}
