/**
 * Finds blocks that a pass has sent before. The bytes are compared with those of the file that was sent, and only if that
 * one has not changed since: the proof is its stat, as for files that the exact pass leaves out (core/tree-diff.ts). So
 * what is compared is what the destination has.
 */
import { close, statDescriptor } from "../../shared/adapters/linux.ts";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import { maxPathBytes } from "../../shared/core/frames/tree-record.ts";
import { hasErrno } from "../../shared/errors.ts";
import { drawSamples, fingerprintOf, SentBlocks, type SentBlock, type SentFile } from "../core/sent-blocks.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { joinPath } from "../core/tree-index.ts";
import { readAll } from "./read-all.ts";
import { SourceRoot } from "./source-root.ts";

/** Smaller blocks are always sent: to copy them is no less work. */
export const leastCopiedBytes = 64 * 1024;

const samplePlaces = drawSamples(Math.random);

/** A block as the destination has it. */
export interface Original {
  number: number;
  from: number;
}

export class BlockCopies implements Disposable {
  readonly #sent = new SentBlocks();
  /** The trees so far: the last one is being sent. */
  readonly #trees: SourceRoot[] = [];
  /** The file that was compared with last. */
  #open: { file: SentFile; fd: number } | undefined;
  readonly #room = Buffer.allocUnsafeSlow(maxDataBytes);

  /** Opens the tree that is sent next; `path` is trusted. It stays open, and this one's, until all is disposed of. */
  openTree(path: string): SourceRoot {
    const root = new SourceRoot(path);
    this.#trees.push(root);
    return root;
  }

  /** Takes up a file of that tree that is about to be sent; undefined when others can't be copied from it. */
  add(
    { identity, signature, certain, recent }: TreeEntry,
    path: readonly Buffer[],
    bytes: number,
  ): SentFile | undefined {
    if (bytes < leastCopiedBytes || !certain || recent) return undefined;
    const joined = joinPath(path);
    if (joined.length >= maxPathBytes) return undefined;
    return this.#sent.add({ tree: this.#trees.length - 1, path: joined, identity, signature });
  }

  /** Where the destination has the same block; if nowhere, undefined, and it is noted as one of `file` at `from`. */
  find(block: Buffer, file: SentFile | undefined, from: number): Promise<Original | undefined> | undefined {
    if (block.length < leastCopiedBytes) return undefined;
    const fingerprint = fingerprintOf(block, samplePlaces);
    const found = this.#sent.find(fingerprint);
    if (found !== undefined) return this.#compare(block, found);
    if (file !== undefined) this.#sent.note(fingerprint, { file, from });
    return undefined;
  }

  /** None of what was sent so far is copied from any more. */
  forget(): void {
    this.#sent.forget();
  }

  [Symbol.dispose](): void {
    if (this.#open !== undefined) close(this.#open.fd);
    this.#open = undefined;
    for (const root of this.#trees.splice(0)) root.close();
  }

  async #compare(block: Buffer, { file, from }: SentBlock): Promise<Original | undefined> {
    const fd = this.#descriptorOf(file);
    const room = this.#room.subarray(0, block.length);
    // Before the reading too: what has the name by now may be a pipe or a directory.
    const same =
      fd !== undefined &&
      isAsSent(fd, file) &&
      (await readAll(fd, room, from)) &&
      room.equals(block) &&
      isAsSent(fd, file);
    this.#sent.compared(same);
    return same ? { number: file.number, from } : undefined;
  }

  #descriptorOf(file: SentFile): number | undefined {
    if (this.#open?.file === file) return this.#open.fd;
    if (this.#open !== undefined) close(this.#open.fd);
    this.#open = undefined;
    const root = this.#trees[file.tree];
    try {
      const fd = root?.openFile(root.fd, file.path);
      if (fd !== undefined) this.#open = { file, fd };
      return fd;
    } catch (error) {
      // Moved or removed meanwhile.
      if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV", "ESTALE")) return undefined;
      throw error;
    }
  }
}

function isAsSent(fd: number, { identity, signature }: SentFile): boolean {
  const stat = statDescriptor(fd);
  return stat.identity === identity && stat.signature === signature;
}
