/**
 * Files of a job that others may be copied from, as the source has numbered them. Each is found again by its path, and
 * must be the very file that was written: what else has its place by then is not read.
 */
import { read } from "node:fs";
import {
  close,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  reopen,
  statDescriptor,
} from "../../shared/adapters/linux.ts";
import { FrameError, maxDataBytes } from "../../shared/core/frames/frame.ts";
import { maxOriginPathBytes, maxOrigins } from "../../shared/core/frames/job-message.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { joinPath } from "../core/tree-index.ts";
import { kindOf } from "./snapshot.ts";

interface Origin {
  /** Of its tree: trusted. */
  rootPath: string;
  path: Buffer;
  /** As in a stat: which file it is. */
  identity: string;
}

/** A part of a numbered file. */
export interface OriginPart {
  number: number;
  from: number;
  length: number;
}

export class Origins {
  readonly #origins: Origin[] = [];
  #pathBytes = 0;
  readonly #room = Buffer.allocUnsafeSlow(maxDataBytes);
  /** The one that was read last: the next read is likely to be of it too. */
  #open: { number: number; fd: number } | undefined;

  /** Notes the file of a descriptor, at `path` from the tree's root. Numbers come in their order. */
  note(number: number, rootPath: string, path: readonly Buffer[], fd: number): void {
    const joined = joinPath(path);
    this.#pathBytes += joined.length;
    if (number !== this.#origins.length || number >= maxOrigins || this.#pathBytes > maxOriginPathBytes)
      throw new FrameError(`a file has the number ${number}`);
    this.#origins.push({ rootPath, path: joined, identity: statDescriptor(fd).identity });
  }

  /** Reads a part; it is good until the next one is read. Throws FrameError when there is none, `transfer-failed` when the file is not there any more. */
  async read({ number, from, length }: OriginPart): Promise<Buffer> {
    const origin = this.#origins[number];
    if (origin === undefined) throw new FrameError(`a copy of file ${number}, which was not sent`);
    const fd = this.#descriptorOf(number, origin);
    const bytes = this.#room.subarray(0, length);
    for (let done = 0; done < length;) {
      const more = await readOnce(fd, bytes, done, from + done);
      if (more === 0) throw new FrameError(`a copy of more than file ${number} has`);
      done += more;
    }
    return bytes;
  }

  close(): void {
    if (this.#open !== undefined) close(this.#open.fd);
    this.#open = undefined;
  }

  #descriptorOf(number: number, origin: Origin): number {
    if (this.#open?.number === number) return this.#open.fd;
    this.close();
    const fd = openAgain(origin);
    this.#open = { number, fd };
    return fd;
  }
}

function openAgain({ rootPath, path, identity }: Origin): number {
  const rootFd = openTrustedDirectory(rootPath);
  try {
    const pathFd = openBeneath(rootFd, path, openFlags.pathOnly);
    try {
      const stat = statDescriptor(pathFd);
      // A device or a pipe may have got the number of a file that was removed: those are never opened.
      if (stat.identity !== identity || kindOf(stat, false) !== "file") throw changed(path);
      return reopen(pathFd, openFlags.readOnly);
    } finally {
      close(pathFd);
    }
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV")) throw changed(path);
    throw error;
  } finally {
    close(rootFd);
  }
}

const changed = (path: Buffer): DmigrateError =>
  new DmigrateError(
    "transfer-failed",
    `/${path.toString()}, which other files have parts of, is not there any more as it was written: something else writes ` +
      "to the destination's files; end that and migrate again",
  );

function readOnce(fd: number, buffer: Buffer, at: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, at, buffer.length - at, position, (error, bytes) =>
      error === null ? resolve(bytes) : reject(error),
    );
  });
}
