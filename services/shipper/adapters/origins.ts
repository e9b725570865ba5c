/**
 * Files of a job that others may be copied from. Large ones have numbers, by the source; each is found again by its path,
 * and must be the very file that was written: what else has its place by then is not read. Of small ones nothing is kept
 * here: the source says the path, from the root of a tree of the job, and the hash of what it means. What has another hash
 * is not copied, and the source is told.
 */
import { hash } from "node:crypto";
import {
  close,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  reopen,
  statDescriptor,
} from "../../shared/adapters/linux.ts";
import { FrameError, maxDataBytes } from "../../shared/core/frames/frame.ts";
import { maxMissing, maxOriginPathBytes, maxOrigins } from "../../shared/core/frames/job-message.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { maxSameBytes } from "../../shared/core/frames/tree-record.ts";
import { joinPath } from "../core/tree-index.ts";
import { CachedReader } from "./cached-read.ts";
import { readAll } from "./read-all.ts";
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

/** A small file, by where it is and what is in it. */
export interface WholeFile {
  /** By its index in the job. */
  tree: number;
  path: Buffer;
  length: number;
  /** SHA-256. */
  hash: Buffer;
}

export class Origins {
  readonly #origins: Origin[] = [];
  /** Of the trees that the job has begun: trusted. */
  readonly #rootPaths = new Map<number, string>();
  /** The tree in which a small file was looked for last. */
  #root: { tree: number; fd: number } | undefined;
  #reader: CachedReader | undefined;
  #wholes = 0;
  readonly #missing: number[] = [];
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
    if (!(await readAll(fd, bytes, from))) throw new FrameError(`a copy of more than file ${number} has`);
    return bytes;
  }

  /** Notes where a tree of the job is that begins; `rootPath` is trusted. */
  noteTree(tree: number, rootPath: string): void {
    this.#rootPaths.set(tree, rootPath);
  }

  /** Which of all calls of `readWhole`, counted from 0, have answered nothing. */
  get missing(): readonly number[] {
    return this.#missing;
  }

  /**
   * Reads a small file; what it answers is good until the next is read. Undefined when there is nothing of that hash, which
   * is noted. Throws FrameError on a tree that was not begun, and `transfer-failed` when that happens too often.
   */
  async readWhole(whole: WholeFile): Promise<Buffer | undefined> {
    const rootPath = this.#rootPaths.get(whole.tree);
    if (rootPath === undefined) throw new FrameError(`a file of tree ${whole.tree}, which was not begun`);
    const number = this.#wholes++;
    const bytes = await this.#readWhole(rootPath, whole);
    if (bytes !== undefined && hash("sha256", bytes, "buffer").equals(whole.hash)) return bytes;
    if (this.#missing.length >= maxMissing) throw changed(whole.path);
    this.#missing.push(number);
    return undefined;
  }

  async #readWhole(rootPath: string, { tree, path, length }: WholeFile): Promise<Buffer | undefined> {
    const fd = openFile(this.#rootOf(tree, rootPath), path);
    if (fd === undefined) return undefined;
    try {
      this.#reader ??= new CachedReader(maxSameBytes);
      const reading = this.#reader.read(fd, 0, length);
      const bytes = typeof reading === "number" ? reading : await reading;
      if (bytes === length) return this.#reader.room.subarray(0, length);
      // In parts: some of it may not be in memory.
      const room = this.#room.subarray(0, length);
      return (await readAll(fd, room, 0)) ? room : undefined;
    } finally {
      close(fd);
    }
  }

  #rootOf(tree: number, rootPath: string): number {
    if (this.#root?.tree === tree) return this.#root.fd;
    if (this.#root !== undefined) close(this.#root.fd);
    this.#root = undefined;
    const fd = openTrustedDirectory(rootPath);
    this.#root = { tree, fd };
    return fd;
  }

  close(): void {
    this.#closeOpen();
    if (this.#root !== undefined) close(this.#root.fd);
    this.#root = undefined;
  }

  #closeOpen(): void {
    if (this.#open !== undefined) close(this.#open.fd);
    this.#open = undefined;
  }

  #descriptorOf(number: number, origin: Origin): number {
    if (this.#open?.number === number) return this.#open.fd;
    this.#closeOpen();
    const fd = openAgain(origin);
    this.#open = { number, fd };
    return fd;
  }
}

function openAgain({ rootPath, path, identity }: Origin): number {
  const rootFd = openTrustedDirectory(rootPath);
  try {
    const fd = openFile(rootFd, path, identity);
    if (fd === undefined) throw changed(path);
    return fd;
  } finally {
    close(rootFd);
  }
}

/** Opens a file beneath a root; undefined when there is none, or another one than `identity` says. Nothing else is ever opened. */
function openFile(rootFd: number, path: Buffer, identity?: string): number | undefined {
  try {
    const pathFd = openBeneath(rootFd, path, openFlags.pathOnly);
    try {
      const stat = statDescriptor(pathFd);
      // A device or a pipe may have got the number of a file that was removed.
      const isIt = kindOf(stat, false) === "file" && (identity === undefined || stat.identity === identity);
      return isIt ? reopen(pathFd, openFlags.readOnly | openFlags.noAccessTime) : undefined;
    } finally {
      close(pathFd);
    }
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV", "ENAMETOOLONG")) return undefined;
    throw error;
  }
}

const changed = (path: Buffer): DmigrateError =>
  new DmigrateError(
    "transfer-failed",
    `/${path.toString()}, which other files have parts of, is not there any more as it was written: something else writes ` +
      "to the destination's files; end that and migrate again",
  );
