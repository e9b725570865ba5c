/**
 * A pass over a tree while the container runs: looks at each entry and sends it in one go. What vanished or turned into
 * something else between the two is passed over and noted as uncertain: the exact pass sends it.
 *
 * An entry is in `onEntry` before the system is told to look at anything else: a change that was reported before that
 * call was there to be seen, and one that is reported later is of an entry that is known (change-watch.ts).
 */
import {
  close,
  listAttributes,
  readDirectoryTypes,
  statAt,
  statDescriptor,
  type FileStat,
} from "../../shared/adapters/linux.ts";
import { DmigrateError, hasErrno, messageOf } from "../../shared/errors.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import type { BlockCopies } from "./block-copies.ts";
import { breathe } from "./breathe.ts";
import type { ContentCopies } from "./content-copies.ts";
import { EntrySender, isSmall, type OpenedFile, type Place } from "./entry-sender.ts";
import type { RecordWriter } from "./record-writer.ts";
import {
  adopt,
  closeRoots,
  hasMount,
  kindOf,
  openRoots,
  TreeLook,
  tryOpen,
  tryStat,
  type LookOptions,
  type Roots,
} from "./snapshot.ts";
import type { SourceRoot } from "./source-root.ts";

export interface LivePassOptions extends Omit<LookOptions, "exact"> {
  writer: RecordWriter;
  /** Of the job: blocks are copied from its earlier trees too. */
  copies: BlockCopies;
  contents: ContentCopies;
  /** Called with each entry as soon as it was looked at, `mergedFd` being that of a directory of a layer. */
  onEntry: (entry: TreeEntry, mergedFd: number | undefined) => void;
}

const directoryType = 0o04;
const fileType = 0o10;

export const rootPlace: Place = { directories: [], name: Buffer.alloc(0) };

/** Opens the tree for as long as `use` sends of it. */
export async function withLivePass<T>(
  options: LivePassOptions,
  use: (pass: LivePass, roots: Roots) => Promise<T>,
): Promise<T> {
  const source = options.copies.openTree(options.tree.path);
  const roots = openRoots(options.tree);
  try {
    const look = new TreeLook({ ...options, exact: false }, roots);
    return await use(new LivePass(options, source, look), { fd: source.fd, mergedFd: roots.mergedFd });
  } finally {
    closeRoots(roots);
  }
}

/** A directory that is being sent. */
export interface OpenDirectory {
  fd: number;
  mergedFd: number | undefined;
  stat: FileStat;
  entry: TreeEntry;
  /** Names on the way to what is in it. */
  path: readonly Buffer[];
}

export class LivePass {
  readonly look: TreeLook;
  readonly sender: EntrySender;
  readonly #options: LivePassOptions;
  readonly #source: SourceRoot;
  readonly #layer: boolean;

  constructor(options: LivePassOptions, source: SourceRoot, look: TreeLook) {
    const { tree, writer, copies, contents, signal } = options;
    this.#options = options;
    this.#source = source;
    this.look = look;
    this.sender = new EntrySender({ tree, writer, exact: false, copies, contents, signal });
    this.#layer = tree.mergedPath !== undefined;
  }

  /** Sends a directory with all that is in it; what is not goes at the destination. */
  async directory(directory: OpenDirectory, place: Place): Promise<void> {
    const { fd, mergedFd, stat, entry, path } = directory;
    this.#options.onEntry(entry, mergedFd);
    await this.sender.enter(fd, stat, place, { fresh: entry.opaque, prune: true });
    for (const { name, type } of readDirectoryTypes(fd)) {
      const pause = breathe(this.#options.signal);
      if (pause !== undefined) await pause;
      const sending = this.child(directory, { directories: path, name }, type);
      if (sending !== undefined) await sending;
    }
    await this.sender.leave();
  }

  /**
   * Sends whatever has a name in a directory that was entered. `type`: what the directory says of it, as in a mode, shifted by
   * 12 bits; 0 when that is not known. Undefined when it is done already, as with most files.
   */
  child(directory: OpenDirectory, place: Place, type: number): Promise<void> | undefined {
    if (type !== fileType) return this.#any(directory, place, type);
    let opened: OpenedFile | undefined;
    try {
      opened = this.#open(directory, place);
    } catch (error) {
      this.#passOver(error, place);
    }
    // Gone or another thing than the directory said: whatever has the name now.
    if (opened === undefined) return this.#any(directory, place, 0);
    return this.#send(opened);
  }

  /** Closes the file. */
  #send(opened: OpenedFile): Promise<void> | undefined {
    const { fd, place } = opened;
    let sending: Promise<void> | undefined;
    try {
      sending = isSmall(opened) ? this.sender.small(opened) : this.#file(opened);
      if (sending === undefined) return undefined;
    } catch (error) {
      throw this.#failure(error, place);
    } finally {
      if (sending === undefined) close(fd);
    }
    return sending
      .catch((error: unknown) => {
        throw this.#failure(error, place);
      })
      .finally(() => close(fd));
  }

  /** Looks at a file, and keeps it open; undefined when the name is not one any more. */
  #open({ fd: dirFd, mergedFd, entry: directory }: OpenDirectory, place: Place): OpenedFile | undefined {
    const { name } = place;
    const fd = this.#source.openFile(dirFd, name);
    if (fd === undefined) return undefined;
    try {
      const stat = statDescriptor(fd);
      if (kindOf(stat, this.#layer) === "file") {
        const entry = this.look.entryOf(stat, mergedFd === undefined ? undefined : tryStat(mergedFd, name));
        this.#note(directory, name, entry);
        return { fd, stat, names: listAttributes(fd), entry, place };
      }
    } catch (error) {
      close(fd);
      throw error;
    }
    close(fd);
    return undefined;
  }

  async #file(opened: OpenedFile): Promise<void> {
    const { entry, place } = opened;
    if (entry.links > 1 && (await this.sender.link(entry, place))) return;
    await this.sender.file(opened);
  }

  /** Whatever has a name. */
  async #any(directory: OpenDirectory, place: Place, type: number): Promise<void> {
    if (type === directoryType && (await this.#subdirectory(directory, place))) return;
    const before = directory.entry.children?.get(place.name.toString("latin1"));
    let entry: TreeEntry | undefined;
    let sent = false;
    try {
      const stat = statAt(directory.fd, place.name);
      const kind = kindOf(stat, this.#layer);
      if (kind === "directory" && type !== directoryType && (await this.#subdirectory(directory, place))) return;
      entry = this.look.entryOf(stat, undefined);
      this.#note(directory.entry, place.name, entry);
      // What is a file was none a moment ago, or the directory does not say: that one is opened.
      if (kind === "file") sent = await this.#fileOf(directory, place);
      else if (kind !== "directory")
        sent =
          (entry.links > 1 && (await this.sender.link(entry, place))) ||
          (await this.sender.special(directory.fd, entry, place));
    } catch (error) {
      this.#passOver(error, place);
    }
    if (entry === undefined || sent) return;
    entry.certain = false;
    if (before === undefined) return;
    // The destination still has what was sent of the name before.
    before.certain = false;
    adopt(directory.entry, before.name, before);
  }

  async #fileOf(directory: OpenDirectory, place: Place): Promise<boolean> {
    const opened = this.#open(directory, place);
    if (opened === undefined) return false;
    await this.#send(opened);
    return true;
  }

  /** False when there is no directory of this name any more. */
  async #subdirectory({ fd: dirFd, mergedFd, entry: parent }: OpenDirectory, place: Place): Promise<boolean> {
    const path = [...place.directories, place.name];
    const fd = this.look.openDirectory(dirFd, place.name, path.length);
    if (fd === undefined) return false;
    const childMerged = mergedFd === undefined ? undefined : tryOpen(mergedFd, place.name);
    try {
      const stat = statDescriptor(fd);
      const entry = this.look.directoryOf(fd, stat);
      this.#adopt(parent, place.name, entry);
      await this.directory({ fd, mergedFd: childMerged, stat, entry, path }, place);
      return true;
    } finally {
      close(fd);
      if (childMerged !== undefined) close(childMerged);
    }
  }

  #note(directory: TreeEntry, name: Buffer, entry: TreeEntry): void {
    this.#adopt(directory, name, entry);
    this.#options.onEntry(entry, undefined);
  }

  #adopt(directory: TreeEntry, name: Buffer, entry: TreeEntry): void {
    const before = directory.children?.size;
    adopt(directory, name.toString("latin1"), entry);
    // A name that comes a second time in a listing replaces at the destination what the first one has brought.
    if (directory.children?.size !== before) return;
    this.#options.copies.forget();
    this.#options.contents.forget();
  }

  /** Throws errors that say more than that the entry has changed. */
  #passOver(error: unknown, place: Place): void {
    if (!hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "ESTALE", "EINVAL")) throw this.#failure(error, place);
  }

  #failure(error: unknown, place: Place): DmigrateError {
    if (error instanceof DmigrateError) return error;
    if (hasErrno(error, "EXDEV")) return hasMount(this.#options.tree, error);
    return this.sender.failure(place, messageOf(error), error);
  }
}
