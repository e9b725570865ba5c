/** Makes small files out of their records, in as few system calls as can be. */
import { changeTimesFrom, createFileAt, writeFrom } from "../../shared/adapters/calls-by-address.ts";
import { addressOf } from "../../shared/adapters/fixed-memory.ts";
import { changeMode, changeOwner, close, statDescriptor } from "../../shared/adapters/linux.ts";
import type { SmallFile } from "../../shared/core/frames/small-file.ts";
import { permissionBits } from "./entry-attributes.ts";

/** A frame whose small files are written. */
export interface SmallFrame {
  bytes: Buffer;
  address: number;
}

export const smallFrame = (bytes: Buffer): SmallFrame => ({ bytes, address: addressOf(bytes) });

/**
 * What the files of one directory are when they are made: all alike, by the process's ids and umask, the directory's
 * set-group-ID bit and the mount. So one is looked at for all that are asked for with the same mode.
 */
export class SmallFiles {
  readonly #dirFd: number;
  readonly #keepAttributes: boolean;
  #asked: number | undefined;
  #mode = 0;
  #uid = 0;
  #gid = 0;

  /** The directory must pass on no access control list, and stay as it is; it stays the caller's. */
  constructor(dirFd: number, keepAttributes: boolean) {
    this.#dirFd = dirFd;
    this.#keepAttributes = keepAttributes;
  }

  /** Makes one whole file. Throws EEXIST when the name is taken. */
  write({ address }: SmallFrame, file: SmallFile): void {
    // What is right from the start need not be changed at the end.
    const asked = this.#keepAttributes ? file.mode & 0o777 : 0o600;
    const fd = createFileAt(this.#dirFd, address + file.nameAt, asked);
    try {
      if (file.dataBytes > 0) writeFrom(fd, address + file.dataAt, file.dataBytes, 0);
      if (this.#keepAttributes) this.#setAll(fd, asked, address, file);
    } finally {
      close(fd);
    }
  }

  #setAll(fd: number, asked: number, address: number, file: SmallFile): void {
    if (asked !== this.#asked) this.#look(fd, asked);
    const mode = file.mode & permissionBits;
    const owned = file.uid === this.#uid && file.gid === this.#gid;
    // In this order: a change of owner clears set-uid bits.
    if (!owned) changeOwner(fd, file.uid, file.gid);
    if (!owned || mode !== this.#mode) changeMode(fd, mode);
    changeTimesFrom(fd, address + file.timesAt);
  }

  #look(fd: number, asked: number): void {
    const { mode, uid, gid } = statDescriptor(fd);
    this.#asked = asked;
    this.#mode = mode & permissionBits;
    this.#uid = uid;
    this.#gid = gid;
  }
}
