/**
 * A pass over what is in the large files that were open when they were sent, while the container runs on: so that little of
 * it is left to be sent inside the freeze. It settles nothing: all that it looks at stays uncertain, and the exact pass
 * compares it again, with the blocks as they were sent last. What is not where it was, or another file, is passed over.
 */
import { close, listAttributes, openBeneath, statDescriptor } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { onTheWayTo } from "../core/tree-index.ts";
import { breathe } from "./breathe.ts";
import { EntrySender, type OpenedFile, type Place } from "./entry-sender.ts";
import type { RecordWriter } from "./record-writer.ts";
import { directoryFlagsToOpen, kindOf, type SourceTree } from "./snapshot.ts";
import { SourceRoot } from "./source-root.ts";

export interface ContentPassOptions {
  tree: SourceTree;
  /** The tree's number in the job. */
  index: number;
  root: TreeEntry;
  /** What is looked at, as `contentsOf` answers. */
  files: readonly TreeEntry[];
  /** What the files showed when their content was sent last, where that was not when they were looked at first. */
  seen: Map<TreeEntry, string>;
  writer: RecordWriter;
  signal: AbortSignal;
}

/**
 * The files for such a pass, of all entries that may differ from what was sent. One with several names is sent again as a
 * whole: which of them the others would be given to must be settled first.
 */
export const contentsOf = (uncertain: readonly TreeEntry[]): TreeEntry[] => uncertain.filter(hasContentPass);

export const hasContentPass = ({ kind, certain, tags, links }: TreeEntry): boolean =>
  kind === "file" && !certain && tags !== undefined && links === 1;

/** Sends what has changed in the files; the caller flushes. Throws as the first pass does. */
export async function sendContentPass(options: ContentPassOptions): Promise<void> {
  const onTheWay = onTheWayTo(options.files);
  if (onTheWay.size === 0) return;
  const source = new SourceRoot(options.tree.path);
  try {
    if (statDescriptor(source.fd).identity !== options.root.identity) return;
    await options.writer.write({ type: "tree", index: options.index });
    const place = { directories: [], name: Buffer.alloc(0) };
    await new ContentPass(options, source, onTheWay).directory(source.fd, options.root, place, []);
  } finally {
    source.close();
  }
}

class ContentPass {
  readonly #options: ContentPassOptions;
  readonly #source: SourceRoot;
  readonly #onTheWay: ReadonlySet<TreeEntry>;
  readonly #sender: EntrySender;
  readonly #layer: boolean;

  constructor(options: ContentPassOptions, source: SourceRoot, onTheWay: ReadonlySet<TreeEntry>) {
    const { tree, writer, signal } = options;
    this.#options = options;
    this.#source = source;
    this.#onTheWay = onTheWay;
    this.#sender = new EntrySender({ tree, writer, exact: false, signal });
    this.#layer = tree.mergedPath !== undefined;
  }

  async directory(fd: number, entry: TreeEntry, place: Place, inside: readonly Buffer[]): Promise<void> {
    await this.#sender.enter(fd, statDescriptor(fd), place, { fresh: false, prune: false });
    for (const [name, child] of entry.children ?? []) {
      if (!this.#onTheWay.has(child)) continue;
      const wait = breathe(this.#options.signal);
      if (wait !== undefined) await wait;
      const childPlace = { directories: inside, name: Buffer.from(name, "latin1") };
      if (child.kind === "directory") await this.#subdirectory(fd, child, childPlace);
      else await this.#file(fd, child, childPlace);
    }
    await this.#sender.leave();
  }

  async #subdirectory(dirFd: number, entry: TreeEntry, place: Place): Promise<void> {
    const fd = unlessMoved(() => openBeneath(dirFd, place.name, directoryFlagsToOpen));
    if (fd === undefined) return;
    try {
      if (statDescriptor(fd).identity === entry.identity)
        await this.directory(fd, entry, place, [...place.directories, place.name]);
    } finally {
      close(fd);
    }
  }

  async #file(dirFd: number, entry: TreeEntry, place: Place): Promise<void> {
    const fd = unlessMoved(() => this.#source.openFile(dirFd, place.name));
    if (fd === undefined) return;
    try {
      const opened = this.#look(fd, entry, place);
      if (opened !== undefined) await this.#sender.again(opened);
    } finally {
      close(fd);
    }
  }

  /** Undefined when it is another file, or shows no change: then the exact pass alone can tell. */
  #look(fd: number, entry: TreeEntry, place: Place): OpenedFile | undefined {
    const { seen } = this.#options;
    const stat = statDescriptor(fd);
    if (kindOf(stat, this.#layer) !== "file" || stat.identity !== entry.identity || stat.links !== 1) return undefined;
    if (stat.signature === (seen.get(entry) ?? entry.signature)) return undefined;
    seen.set(entry, stat.signature);
    return { fd, stat, names: listAttributes(fd), entry, place };
  }
}

/** Undefined when the name is not there any more, or stands for something else; what has a mount in it says so when it is sent. */
export function unlessMoved<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "ESTALE", "EXDEV")) return undefined;
    throw error;
  }
}
