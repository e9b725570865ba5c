/**
 * Which contents of small files a job has sent, and in which file: each by a key that stands for it and for nothing else.
 * Bounded: once it is full, what it knows is still found, and nothing is added.
 */
import { isAttached } from "./tree-index.ts";
import type { TreeEntry } from "./tree-diff.ts";

/** Some 15 MB of memory, keys of 16 bytes and all; the entries are there anyway. */
export const maxContents = 128 * 1024;

/** A file that has been sent. */
export interface SentContent {
  /** Of the job. */
  tree: number;
  entry: TreeEntry;
}

export class SentContents {
  readonly #contents = new Map<string, SentContent>();

  /** The file that has these contents; undefined when it is not known to be where it was. */
  find(key: string): SentContent | undefined {
    const found = this.#contents.get(key);
    return found !== undefined && isAttached(found.entry) ? found : undefined;
  }

  /** Notes the file that has them from now on. */
  note(key: string, content: SentContent): void {
    if (this.#contents.size < maxContents || this.#contents.has(key)) this.#contents.set(key, content);
  }

  /** None of what was sent so far is relied on any more. */
  forget(): void {
    this.#contents.clear();
  }
}
