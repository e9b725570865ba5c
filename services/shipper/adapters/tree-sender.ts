/**
 * The exact pass: sends what a snapshot of a container that stands still marks. Whatever is not as the snapshot has it is
 * a failure.
 */
import { close, listAttributes, openBeneath, statDescriptor } from "../../shared/adapters/linux.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { breathe } from "./breathe.ts";
import { changedText, EntrySender, type Place } from "./entry-sender.ts";
import type { RecordWriter } from "./record-writer.ts";
import { directoryFlagsToOpen, kindOf, type SourceTree } from "./snapshot.ts";
import { SourceRoot } from "./source-root.ts";

export interface SendTreeOptions {
  tree: SourceTree;
  root: TreeEntry;
  writer: RecordWriter;
  signal: AbortSignal;
}

/** Sends the tree; the caller has announced it, and flushes. Throws `transfer-failed`. */
export async function sendTree(options: SendTreeOptions): Promise<void> {
  if (!options.root.send) return;
  const root = new SourceRoot(options.tree.path);
  try {
    const place = { directories: [], name: Buffer.alloc(0) };
    await new TreeSending(options, root).directory(root.fd, options.root, place, []);
  } finally {
    root.close();
  }
}

class TreeSending {
  readonly #root: SourceRoot;
  readonly #layer: boolean;
  readonly #signal: AbortSignal;
  readonly #sender: EntrySender;
  readonly #writer: RecordWriter;

  constructor({ tree, writer, signal }: SendTreeOptions, root: SourceRoot) {
    this.#root = root;
    this.#layer = tree.mergedPath !== undefined;
    this.#signal = signal;
    this.#writer = writer;
    this.#sender = new EntrySender({ tree, writer, exact: true, signal });
  }

  async directory(fd: number, entry: TreeEntry, place: Place, inside: readonly Buffer[]): Promise<void> {
    const stat = statDescriptor(fd);
    // CRIU makes a directory in the frozen container and removes it again (snapshot.ts): the times change, and that is all.
    if (stat.identity !== entry.identity) this.#sender.noteSame(stat, entry, place);
    await this.#sender.enter(fd, stat, place, { fresh: entry.fresh, prune: false });
    for (const gone of entry.removed) await this.#writer.write({ type: "remove", name: Buffer.from(gone, "latin1") });
    for (const [childName, child] of entry.children ?? []) {
      if (!child.send) continue;
      const wait = breathe(this.#signal);
      if (wait !== undefined) await wait;
      await this.#child(fd, child, { directories: inside, name: Buffer.from(childName, "latin1") });
    }
    await this.#sender.leave();
  }

  async #child(dirFd: number, entry: TreeEntry, place: Place): Promise<void> {
    let sent: boolean;
    try {
      sent = await this.#entry(dirFd, entry, place);
    } catch (error) {
      throw error instanceof DmigrateError ? error : this.#sender.failure(place, messageOf(error), error);
    }
    if (!sent) throw this.#sender.failure(place, changedText);
  }

  /** False when the name no longer is what the snapshot saw. */
  async #entry(dirFd: number, entry: TreeEntry, place: Place): Promise<boolean> {
    if (entry.kind === "directory") return this.#subdirectory(dirFd, entry, place);
    if (entry.links > 1 && (await this.#sender.link(entry, place))) return true;
    return entry.kind === "file" ? this.#file(dirFd, entry, place) : this.#sender.special(dirFd, entry, place);
  }

  async #subdirectory(dirFd: number, entry: TreeEntry, place: Place): Promise<boolean> {
    const fd = openBeneath(dirFd, place.name, directoryFlagsToOpen);
    try {
      await this.directory(fd, entry, place, [...place.directories, place.name]);
      return true;
    } finally {
      close(fd);
    }
  }

  async #file(dirFd: number, entry: TreeEntry, place: Place): Promise<boolean> {
    const fd = this.#root.openFile(dirFd, place.name);
    if (fd === undefined) return false;
    try {
      const stat = statDescriptor(fd);
      if (kindOf(stat, this.#layer) !== "file") return false;
      this.#sender.noteSame(stat, entry, place);
      await this.#sender.file({ fd, stat, names: listAttributes(fd), entry, place });
      return true;
    } finally {
      close(fd);
    }
  }
}
