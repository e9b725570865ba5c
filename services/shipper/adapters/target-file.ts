/** A file that is being written: a new one, or one that was sent before and gets what has changed. */
import { writeFrom } from "../../shared/adapters/calls-by-address.ts";
import { addressOf } from "../../shared/adapters/fixed-memory.ts";
import {
  close,
  openBeneath,
  openFlags,
  punchHole,
  reopen,
  statDescriptor,
  truncate,
} from "../../shared/adapters/linux.ts";
import { FrameError } from "../../shared/core/frames/frame.ts";
import type { Attributes } from "../../shared/core/frames/attributes.ts";
import { zeroBlock } from "../core/zero-block.ts";
import { dropUnwanted, setAll, type Extended } from "./entry-attributes.ts";
import { FileWrites } from "./file-writes.ts";
import type { OriginPart, Origins, WholeFile } from "./origins.ts";
import { kindOf } from "./snapshot.ts";
import type { TargetTree } from "./target-tree.ts";

/** What its record says. */
interface FileHead {
  name: Buffer;
  attributes: Attributes;
  size: number;
}

/** As large as blocks of file systems are, or a multiple. */
const blockBytes = 64 * 1024;

export class TargetFile {
  readonly name: Buffer;
  readonly extended: Extended[] = [];
  readonly #fd: number;
  readonly #head: FileHead;
  readonly #writes: FileWrites;
  /** It was here before: what is not sent stays, and it may have attributes of its own. */
  readonly #existed: boolean;
  /** Under way, or over; the descriptor must stay open for it. */
  #copying: Promise<void> | undefined;
  /** End of the data so far. */
  #end = 0;
  /** It is the same as another file, or was to be. */
  #isAsked = false;
  #closed = false;

  private constructor(fd: number, head: FileHead, existed: boolean) {
    this.name = head.name;
    this.#fd = fd;
    this.#head = head;
    this.#existed = existed;
    this.#writes = new FileWrites(fd);
  }

  /** Makes a file. Throws EEXIST when the name is taken. */
  static create(dirFd: number, head: FileHead, mode: number): TargetFile {
    const flags = openFlags.writeOnly | openFlags.create | openFlags.exclusive;
    return new TargetFile(openBeneath(dirFd, head.name, flags, mode), head, false);
  }

  /** Opens one that was sent before. What is no file is never opened for writing, whatever the source has made of it. */
  static patch(dirFd: number, head: FileHead): TargetFile {
    const pathFd = openBeneath(dirFd, head.name, openFlags.pathOnly);
    try {
      if (kindOf(statDescriptor(pathFd), false) !== "file") throw new FrameError("a patch of what is no file");
      return new TargetFile(reopen(pathFd, openFlags.writeOnly), head, true);
    } finally {
      close(pathFd);
    }
  }

  /** Settles once all data so far is in the file; undefined when it is. */
  get writing(): Promise<void> | undefined {
    return this.#writes.writing;
  }

  /** Writes; the bytes stay as they are until `writing` settles. Waits while much is under way. */
  chunk(offset: number, bytes: Buffer): Promise<void> | undefined {
    this.#reach(offset, bytes.length);
    return this.#writes.add(bytes, offset);
  }

  /** Data all the same: the file is to have these blocks. */
  zeros(offset: number, length: number): Promise<void> | undefined {
    return this.chunk(offset, zeroBlock.subarray(0, length));
  }

  /** Lets others have parts of it, by this number. */
  noteOrigin(number: number, { origins, rootPath }: TargetTree, path: readonly Buffer[]): void {
    if (this.#existed) throw new FrameError("a patch with a number");
    origins.note(number, rootPath, path, this.#fd);
  }

  /** A chunk that another file has, or an earlier part of this one. */
  copy(offset: number, part: OriginPart, { origins }: TargetTree): Promise<void> {
    this.#reach(offset, part.length);
    this.#copying = this.#copy(offset, part, origins);
    return this.#copying;
  }

  /** All that another file of the job has. One that is not there as the source means it leaves a hole, and the source is told. */
  same(whole: WholeFile, { origins }: TargetTree): Promise<void> {
    if (this.#existed || this.#end > 0 || this.#isAsked)
      throw new FrameError("a file that is the same as another one has contents already");
    this.#isAsked = true;
    this.#reach(0, whole.length);
    this.#copying = this.#same(whole, origins);
    return this.#copying;
  }

  async #same(whole: WholeFile, origins: Origins): Promise<void> {
    await this.writing;
    const bytes = await origins.readWhole(whole);
    if (bytes === undefined) this.#end = 0;
    else writeFrom(this.#fd, addressOf(bytes), bytes.length, 0);
  }

  async #copy(offset: number, part: OriginPart, origins: Origins): Promise<void> {
    await this.writing;
    const bytes = await origins.read(part);
    writeFrom(this.#fd, addressOf(bytes), bytes.length, offset);
  }

  hole(offset: number, length: number): Promise<void> | undefined {
    if (!this.#existed) throw new FrameError("a hole outside a patch");
    if (length === 0 || offset + length > this.#head.size) throw new FrameError("a hole beyond the end of its file");
    // At the end of the file up to the end of its last block, which would stay allocated otherwise: what is beyond the
    // size goes away in the end.
    const end =
      offset + length === this.#head.size ? Math.ceil((offset + length) / blockBytes) * blockBytes : offset + length;
    return this.#afterWrites(() => punchHole(this.#fd, offset, end - offset));
  }

  /** Gives it its size, and its attributes if they are kept; closes it. */
  finish(keepAttributes: boolean): Promise<void> | undefined {
    return this.#afterWrites(() => {
      const { size, attributes } = this.#head;
      // What no chunk covered stays a hole, also at the end.
      if (this.#existed || this.#end < size) truncate(this.#fd, size);
      if (keepAttributes) {
        if (this.#existed) dropUnwanted(this.#fd, this.extended);
        setAll(this.#fd, { attributes, extended: this.extended });
      }
      this.#close();
    });
  }

  /** Closes it as it is. */
  async abandon(): Promise<void> {
    await this.#copying?.catch(() => undefined);
    await this.writing?.catch(() => undefined);
    this.#close();
  }

  /** It may be given up while it is being finished; by then the number of its descriptor may be another file's. */
  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.#fd);
  }

  #reach(offset: number, length: number): void {
    if (offset + length > this.#head.size) throw new FrameError("data beyond the end of its file");
    this.#end = Math.max(this.#end, offset + length);
  }

  #afterWrites(action: () => void): Promise<void> | undefined {
    const { writing } = this.#writes;
    if (writing !== undefined) return writing.then(action);
    action();
    return undefined;
  }
}
