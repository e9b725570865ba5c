/**
 * Finds small files whose contents a job has sent before: they go as a word about where those are. What is sent is known
 * again by a hash under a key that never leaves this process (gmac-hasher.ts); the destination is told a hash that it can
 * make itself (SHA-256), and copies nothing that has another one. What it then lacks counts as uncertain, and goes with
 * the exact pass.
 *
 * Contents are noted where the link is slow enough to be what holds small files up, and referred to while it does: frames
 * wait for it then, and processors have the time that a reference takes of them. It takes more than contents do.
 */
import { hash } from "node:crypto";
import type { JobDone } from "../../shared/core/frames/job-message.ts";
import { maxPathBytes, maxSameBytes, type TreeRecord } from "../../shared/core/frames/tree-record.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { SentContents } from "../core/sent-contents.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { joinPath, pathOf } from "../core/tree-index.ts";
import { GmacHasher } from "./gmac-hasher.ts";

export type SameRecord = Extract<TreeRecord, { type: "same" }>;

/** Contents of fewer bytes are always sent: compressed they are hardly more than a reference. */
export const leastSharedBytes = 1024;
/** What a reference takes beside the path, and what is else sent for it. */
const referenceBytes = 64;

const hasher = new GmacHasher();
const hashed = Buffer.from(hasher.hash.buffer);

/** What the decision rests on (FileJobs). */
export interface LinkState {
  /** Whether it takes longer for so many bytes of a small file than processors do, as far as is known by now. */
  linkHoldsUp: (bytes: number) => boolean;
  /** Frames wait for it just now. */
  readonly linkIsBusy: boolean;
}

export class ContentCopies {
  readonly #link: LinkState;
  readonly #sent = new SentContents();
  /** What goes as a reference, in that order. */
  readonly #references: TreeEntry[] = [];
  #tree = 0;

  constructor(link: LinkState) {
    this.#link = link;
  }

  /** What follows is in this tree of the job. */
  beginTree(index: number): void {
    this.#tree = index;
  }

  /** Whether `find` is to be asked about a file of so many bytes. */
  isWorthwhile(bytes: number): boolean {
    return bytes >= leastSharedBytes && bytes <= maxSameBytes && this.#link.linkHoldsUp(bytes);
  }

  /**
   * What is sent instead of these bytes, which are all that is in a file; it must be sent then. Undefined when they are to go
   * themselves; they are noted as this entry's, if no other is known to have them.
   */
  find(bytes: Buffer, entry: TreeEntry): SameRecord | undefined {
    hasher.take(bytes, 0, bytes.length);
    const key = hashed.toString("latin1");
    const found = this.#sent.find(key);
    if (found === undefined) {
      this.#sent.note(key, { tree: this.#tree, entry });
      return undefined;
    }
    if (!this.#link.linkIsBusy) return undefined;
    const path = joinPath(pathOf(found.entry).map((name) => Buffer.from(name, "latin1")));
    if (path.length >= maxPathBytes || 2 * (path.length + referenceBytes) > bytes.length) return undefined;
    this.#references.push(entry);
    return { type: "same", length: bytes.length, hash: hash("sha256", bytes, "buffer"), tree: found.tree, path };
  }

  /** None of what was sent so far is referred to any more. */
  forget(): void {
    this.#sent.forget();
  }

  /** What the destination could not make of other files is not as it was sent. Throws `transfer-failed` on what was never sent. */
  noteMissing({ missing = [] }: JobDone): void {
    for (const number of missing) {
      const entry = this.#references[number];
      if (entry === undefined)
        throw new DmigrateError("transfer-failed", `the destination lacks file ${number}, which was not sent so`);
      entry.certain = false;
      entry.tags = undefined;
    }
  }
}
