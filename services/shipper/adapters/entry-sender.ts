/**
 * Sends single entries of a tree: their records, contents and attributes. What a container swaps in for a file meanwhile,
 * a link or a device, is never opened (source-root.ts).
 */
import {
  getAttribute,
  listAttributes,
  readLinkAt,
  statAt,
  statDescriptor,
  type AttributeTarget,
  type FileStat,
} from "../../shared/adapters/linux.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { maxPathBytes } from "../../shared/core/frames/tree-record.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { joinPath } from "../core/tree-index.ts";
import type { BlockCopies } from "./block-copies.ts";
import { makeTags, tagsAnew } from "./block-tags.ts";
import { CachedReader } from "./cached-read.ts";
import type { ContentCopies } from "./content-copies.ts";
import { hostAttributes, type Extended } from "./entry-attributes.ts";
import { isAllData, sendChanges, sendContent, type BlockNotes } from "./file-content.ts";
import type { RecordWriter, WholeJudge } from "./record-writer.ts";
import { kindOf, type SourceTree } from "./snapshot.ts";

export interface EntrySenderOptions {
  tree: SourceTree;
  writer: RecordWriter;
  /** Nothing may have changed since it was looked at: what has is a failure. */
  exact: boolean;
  /** What blocks may be copied from. */
  copies?: BlockCopies;
  /** The same of small files as a whole. */
  contents?: ContentCopies;
  signal: AbortSignal;
}

/** Where in the tree an entry is: the names of the directories, and its own. */
export interface Place {
  directories: readonly Buffer[];
  name: Buffer;
}

/** An open file, and what was seen of it. */
export interface OpenedFile {
  fd: number;
  stat: FileStat;
  /** Of its extended attributes. */
  names: Buffer[];
  entry: TreeEntry;
  place: Place;
}

const overlayPrefix = "trusted.overlay.";
/** How overlayfs keeps a container's own attributes of that prefix apart from its own. */
const escapedPrefix = "trusted.overlay.overlay.";
/**
 * Files up to this size go as one record, if nothing else speaks against it. Of those that somebody may be writing to,
 * larger ones are sent by what has changed of them, so that less is left for the freeze.
 */
const smallBytes = 128 * 1024;
const smallWrittenBytes = 64 * 1024;

/** What is read at once of a file that is compared: a fraction of a millisecond's work. */
const comparedBytes = 1 << 20;

export const changedText = "something outside the frozen container changed it while it was sent";

/** Whether a file can go as one record: small, of one name, without holes, and without attributes of its own. */
export function isSmall({ fd, stat, names, entry }: OpenedFile): boolean {
  if (stat.links > 1 || names.length > 0 || stat.size > (entry.certain ? smallBytes : smallWrittenBytes)) return false;
  return stat.size === 0 || isAllData(fd, stat);
}

export class EntrySender {
  readonly #options: EntrySenderOptions;
  readonly #layer: boolean;
  /** Where the first name of each multiply linked file was sent to. */
  readonly #links = new Map<string, Buffer>();
  #reader: CachedReader | undefined;

  constructor(options: EntrySenderOptions) {
    this.#options = options;
    this.#layer = options.tree.mergedPath !== undefined;
  }

  /** Enters a directory; what follows is in it, up to `leave`. */
  async enter(fd: number, stat: FileStat, place: Place, flags: { fresh: boolean; prune: boolean }): Promise<void> {
    await this.#options.writer.write({ type: "directory", name: place.name, attributes: stat, ...flags });
    await this.#begun(place, () => this.#sendExtended(this.#extendedOf(fd, place)));
  }

  leave(): Promise<void> | undefined {
    return this.#options.writer.write({ type: "leave" });
  }

  /** Sends one more name of a file that was sent; false when it was not. */
  async link(entry: TreeEntry, { name }: Place): Promise<boolean> {
    const first = this.#links.get(entry.identity);
    if (first === undefined) return false;
    await this.#options.writer.write({ type: "link", name, path: first });
    return true;
  }

  /** Sends what is neither a file nor a directory; false when it is something else now. */
  async special(dirFd: number, entry: TreeEntry, place: Place): Promise<boolean> {
    const { writer } = this.#options;
    const { name } = place;
    if (entry.kind === "whiteout") {
      await writer.write({ type: "remove", name });
      return true;
    }
    const stat = statAt(dirFd, name);
    if (kindOf(stat, this.#layer) !== entry.kind) return false;
    this.noteSame(stat, entry, place);
    // All that is read by name comes before the record: it may be gone once that has waited for the link.
    const extended = [...this.#extendedOf({ dirFd, name }, place)];
    if (entry.kind === "symlink")
      await writer.write({ type: "symlink", name, attributes: stat, target: readLinkAt(dirFd, name) });
    else await writer.write({ type: "node", name, attributes: stat, major: stat.nodeMajor, minor: stat.nodeMinor });
    await this.#begun(place, () => this.#sendExtended(extended));
    this.#rememberLink(entry, place);
    return true;
  }

  /** Sends a small file of one name in one record; undefined when that is done. It is the caller's to close. */
  small({ fd, stat, entry, place }: OpenedFile): Promise<void> | undefined {
    const { writer, contents } = this.#options;
    const judge: WholeJudge | undefined =
      contents?.isWorthwhile(stat.size) === true ? (bytes) => contents.find(bytes, entry) : undefined;
    if (writer.writeSmallFile(fd, place.name, stat, stat.size, judge)) return undefined;
    return writer.makeRoom(place.name, stat.size).then(() => {
      writer.writeSmallFile(fd, place.name, stat, stat.size, judge);
    });
  }

  /** Sends any file. */
  async file({ fd, stat, names, entry, place }: OpenedFile): Promise<void> {
    const { writer, exact, copies, contents, signal } = this.#options;
    const { name } = place;
    if (this.#layer && stat.size === 0 && names.some((each) => each.toString() === "trusted.overlay.whiteout")) {
      await writer.write({ type: "remove", name });
      return;
    }
    this.#refuseIndirect(names, place);
    const before = exact ? entry.tags : undefined;
    const type = before === undefined ? "file" : "patch";
    const tags = exact || entry.certain ? undefined : makeTags(stat.size);
    const isWhole = before === undefined && contents?.isWorthwhile(stat.size) === true;
    const origin = isWhole ? undefined : copies?.add(entry, [...place.directories, name], stat.size);
    const notes: BlockNotes = isWhole
      ? { tags, whole: (bytes) => contents.find(bytes, entry) }
      : { tags, copies, origin };
    await writer.write({ type, name, attributes: stat, size: stat.size });
    await this.#begun(place, async () => {
      await this.#sendExtended(this.#valuesOf(fd, names));
      if (before === undefined) await sendContent({ fd, stat, writer, signal }, notes);
      else await sendChanges({ fd, stat, writer, signal }, { sent: before, reader: this.#readerOfAll() });
      await writer.write({ type: "fileEnd" });
    });
    entry.tags = tags;
    // A change after the first look shows in the next snapshot; the exact pass has no next one.
    if (exact) this.noteSame(statDescriptor(fd), entry, place);
    this.#rememberLink(entry, place);
  }

  /** Sends what has changed of a file whose blocks were noted when it was sent, and notes them as they are now. */
  async again({ fd, stat, names, entry, place }: OpenedFile): Promise<void> {
    const { writer, signal } = this.#options;
    const sent = entry.tags;
    if (sent === undefined) return;
    this.#refuseIndirect(names, place);
    const tags = tagsAnew(sent, stat.size);
    // Of what was sent in part nothing is known.
    entry.tags = undefined;
    await writer.write({ type: "patch", name: place.name, attributes: stat, size: stat.size });
    await this.#begun(place, async () => {
      await this.#sendExtended(this.#valuesOf(fd, names));
      await sendChanges({ fd, stat, writer, signal }, { sent, reader: this.#readerOfAll(), tags });
      await writer.write({ type: "fileEnd" });
    });
    entry.tags = tags;
  }

  #readerOfAll(): CachedReader {
    this.#reader ??= new CachedReader(comparedBytes);
    return this.#reader;
  }

  /** What is sent must be what was looked at: otherwise it may be that again the next time, and seem sent. */
  noteSame(stat: FileStat, entry: TreeEntry, place: Place): void {
    if (stat.signature === entry.signature && stat.identity === entry.identity) return;
    if (this.#options.exact) throw this.failure(place, changedText);
    entry.certain = false;
  }

  failure(place: Place, what: string, cause?: unknown): DmigrateError {
    return new DmigrateError("transfer-failed", `${this.#where(place)} could not be sent: ${what}`, { cause });
  }

  /** What follows a record that opened something: a failure can't be passed over any more. */
  async #begun(place: Place, rest: () => Promise<void>): Promise<void> {
    try {
      await rest();
    } catch (error) {
      throw error instanceof DmigrateError ? error : this.failure(place, messageOf(error), error);
    }
  }

  /** The extended attributes that travel, each read as it is asked for. */
  #extendedOf(target: AttributeTarget, place: Place): Generator<Extended, void, void> {
    const names = listAttributes(target);
    this.#refuseIndirect(names, place);
    return this.#valuesOf(target, names);
  }

  *#valuesOf(target: AttributeTarget, names: Buffer[]): Generator<Extended, void, void> {
    for (const name of names) {
      const text = name.toString("latin1");
      if (hostAttributes.has(text)) continue;
      const overlay = this.#layer && text.startsWith(overlayPrefix);
      if (overlay && !text.startsWith(escapedPrefix)) continue;
      const value = getAttribute(target, name);
      if (value === undefined) continue;
      const sentName = overlay ? Buffer.from(overlayPrefix + text.slice(escapedPrefix.length), "latin1") : name;
      yield { name: sentName, value };
    }
  }

  async #sendExtended(extended: Iterable<Extended>): Promise<void> {
    for (const each of extended) await this.#options.writer.write({ type: "attribute", ...each });
  }

  /** Overlay entries whose content lies under another name in a lower layer. */
  #refuseIndirect(names: readonly Buffer[], place: Place): void {
    if (!this.#layer) return;
    for (const name of names) {
      const text = name.toString("latin1");
      if (text === "trusted.overlay.redirect" || text === "trusted.overlay.metacopy")
        throw new DmigrateError(
          "not-migratable",
          `${this.#where(place)} has the attribute ${text}: its content is in another layer under another name; ` +
            "mount overlays without redirect_dir and metacopy (module options of overlay) and create the container again",
        );
    }
  }

  #rememberLink(entry: TreeEntry, place: Place): void {
    if (entry.links < 2) return;
    const joined = joinPath([...place.directories, place.name]);
    if (joined.length >= maxPathBytes)
      throw new DmigrateError("not-migratable", `${this.#where(place)} is a hard link with a path beyond 4095 bytes`);
    this.#links.set(entry.identity, joined);
  }

  #where({ directories, name }: Place): string {
    return `${this.#options.tree.label}: /${[...directories, name].map(String).filter(Boolean).join("/")}`;
  }
}
