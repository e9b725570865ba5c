/**
 * Sends what a snapshot marks. While the container runs (`exact` false), what vanished or turned into something else is
 * passed over and marked uncertain: the exact pass sends it. In the exact pass any such thing is a failure.
 *
 * What a container swaps in for a file meanwhile, a link or a device, is never opened (source-root.ts).
 */
import {
  close,
  getAttribute,
  listAttributes,
  openBeneath,
  readLinkAt,
  statAt,
  statDescriptor,
  type AttributeTarget,
  type FileStat,
} from "../../shared/adapters/linux.ts";
import type { Attributes } from "../../shared/core/frames/tree-record.ts";
import { DmigrateError, hasErrno, messageOf } from "../../shared/errors.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { makeTags } from "./block-tags.ts";
import { breathe } from "./breathe.ts";
import { hostAttributes } from "./entry-attributes.ts";
import { isAllData, sendChanges, sendContent } from "./file-content.ts";
import type { RecordWriter } from "./record-writer.ts";
import { directoryFlagsToOpen, kindOf, type SourceTree } from "./snapshot.ts";
import { SourceRoot } from "./source-root.ts";

export interface SendTreeOptions {
  tree: SourceTree;
  root: TreeEntry;
  writer: RecordWriter;
  /** First pass: the destination drops what is not mentioned. */
  prune: boolean;
  exact: boolean;
  signal: AbortSignal;
}

const overlayPrefix = "trusted.overlay.";
/** How overlayfs keeps a container's own attributes of that prefix apart from its own. */
const escapedPrefix = "trusted.overlay.overlay.";

/** Sends the tree; the caller has announced it, and flushes. Throws `transfer-failed` in the exact pass only. */
export async function sendTree(options: SendTreeOptions): Promise<void> {
  if (!options.root.send) return;
  const root = new SourceRoot(options.tree.path);
  try {
    await new TreeSending(options, root).directory(root.fd, Buffer.alloc(0), options.root, []);
  } finally {
    root.close();
  }
}

class TreeSending {
  readonly #options: SendTreeOptions;
  readonly #root: SourceRoot;
  readonly #layer: boolean;
  /** Where the first name of each multiply linked file was sent to. */
  readonly #links = new Map<string, Buffer>();

  constructor(options: SendTreeOptions, root: SourceRoot) {
    this.#options = options;
    this.#root = root;
    this.#layer = options.tree.mergedPath !== undefined;
  }

  async directory(fd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): Promise<void> {
    const { writer, prune } = this.#options;
    const stat = statDescriptor(fd);
    // CRIU makes a directory in the frozen container and removes it again (snapshot.ts): the times change, and that is all.
    if (!this.#options.exact || stat.identity !== entry.identity) this.#noteSame(stat, entry, path);
    await writer.write({ type: "directory", name, attributes: attributesOf(stat), fresh: entry.fresh, prune });
    await this.#begun(path, async () => {
      await this.#attributes(fd, path);
      for (const gone of entry.removed) await writer.write({ type: "remove", name: Buffer.from(gone, "latin1") });
      await this.#children(fd, entry, path);
      await writer.write({ type: "leave" });
    });
  }

  async #children(fd: number, entry: TreeEntry, path: Buffer[]): Promise<void> {
    for (const [childName, child] of entry.children ?? []) {
      if (!child.send) continue;
      const wait = breathe(this.#options.signal);
      if (wait !== undefined) await wait;
      const bytes = Buffer.from(childName, "latin1");
      const sending = this.#child(fd, bytes, child, [...path, bytes]);
      if (sending !== undefined) await sending;
    }
  }

  /** What follows a record that opened something: a failure can't be passed over any more. */
  async #begun(path: Buffer[], rest: () => Promise<void>): Promise<void> {
    try {
      await rest();
    } catch (error) {
      throw error instanceof DmigrateError ? error : this.#failure(path, messageOf(error), error);
    }
  }

  /** Undefined when it is done already, as with most files. */
  #child(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): Promise<void> | undefined {
    try {
      const sent = this.#entry(dirFd, name, entry, path);
      if (typeof sent !== "boolean")
        return sent.then(
          (done) => this.#settle(done, entry, path),
          (error: unknown) => this.#settle(this.#passOver(error, path), entry, path),
        );
      this.#settle(sent, entry, path);
    } catch (error) {
      this.#settle(this.#passOver(error, path), entry, path);
    }
    return undefined;
  }

  #settle(sent: boolean, entry: TreeEntry, path: Buffer[]): void {
    if (sent) return;
    if (this.#options.exact) throw this.#failure(path, changedText);
    distrust(entry);
  }

  /** False for an error that says no more than that the entry has changed; throws others. */
  #passOver(error: unknown, path: Buffer[]): false {
    if (error instanceof DmigrateError) throw error;
    if (this.#options.exact || !hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "ESTALE", "EINVAL"))
      throw this.#failure(path, messageOf(error), error);
    return false;
  }

  /** What is sent must be what the snapshot saw: otherwise it may be that again in the next one, and seem sent. */
  #noteSame(stat: FileStat, entry: TreeEntry, path: Buffer[]): void {
    if (stat.signature === entry.signature && stat.identity === entry.identity) return;
    if (this.#options.exact) throw this.#failure(path, changedText);
    entry.certain = false;
  }

  /** False when the name no longer is what the snapshot saw. */
  #entry(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): boolean | Promise<boolean> {
    if (entry.kind === "directory") return this.#subdirectory(dirFd, name, entry, path);
    if (entry.kind === "file" && entry.links < 2) return this.#file(dirFd, name, entry, path);
    return this.#other(dirFd, name, entry, path);
  }

  async #other(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): Promise<boolean> {
    const { writer } = this.#options;
    if (entry.kind === "whiteout") {
      await writer.write({ type: "remove", name });
      return true;
    }
    const first = entry.links > 1 ? this.#links.get(entry.identity) : undefined;
    if (first !== undefined) {
      await writer.write({ type: "link", name, path: first });
      return true;
    }
    if (!(await this.#content(dirFd, name, entry, path))) return false;
    if (entry.links > 1) this.#rememberLink(entry, path);
    return true;
  }

  async #subdirectory(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): Promise<boolean> {
    const fd = openBeneath(dirFd, name, directoryFlagsToOpen);
    try {
      await this.directory(fd, name, entry, path);
      return true;
    } finally {
      close(fd);
    }
  }

  async #content(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): Promise<boolean> {
    const { writer } = this.#options;
    if (entry.kind === "file") return this.#file(dirFd, name, entry, path);
    const stat = statAt(dirFd, name);
    if (kindOf(stat, this.#layer) !== entry.kind) return false;
    this.#noteSame(stat, entry, path);
    const attributes = attributesOf(stat);
    if (entry.kind === "symlink")
      await writer.write({ type: "symlink", name, attributes, target: readLinkAt(dirFd, name) });
    else await writer.write({ type: "node", name, attributes, major: stat.nodeMajor, minor: stat.nodeMinor });
    await this.#attributes({ dirFd, name }, path);
    return true;
  }

  #file(dirFd: number, name: Buffer, entry: TreeEntry, path: Buffer[]): boolean | Promise<boolean> {
    const fd = this.#root.openFile(dirFd, name);
    if (fd === undefined) return false;
    let rest: Promise<boolean> | undefined;
    try {
      const stat = statDescriptor(fd);
      if (kindOf(stat, this.#layer) !== "file") return false;
      this.#noteSame(stat, entry, path);
      const names = listAttributes(fd);
      const opened = { fd, name, stat, names, entry, path };
      if (this.#smallFile(opened)) return true;
      rest = this.#anyFile(opened);
      return rest;
    } finally {
      if (rest === undefined) close(fd);
    }
  }

  /** Sends a small file without attributes at once; false when it is none, or there is no room in the frame just now. */
  #smallFile({ fd, name, stat, names, path }: OpenedFile): boolean {
    const { writer, exact } = this.#options;
    const { size } = stat;
    if (exact || names.length > 0 || size > smallBytes || !writer.hasRoom(size + smallRoomBytes)) return false;
    if (size > 0 && !isAllData(fd, stat)) return false;
    void writer.write({ type: "file", name, attributes: attributesOf(stat), size });
    try {
      if (size > 0) writer.writeSmall(fd, 0, size);
    } catch (error) {
      throw this.#failure(path, messageOf(error), error);
    }
    void writer.write({ type: "fileEnd" });
    return true;
  }

  /** Takes the descriptor over. */
  async #anyFile({ fd, name, stat, names, entry, path }: OpenedFile): Promise<boolean> {
    const { writer, exact, signal } = this.#options;
    try {
      if (this.#layer && stat.size === 0 && names.some((each) => each.toString() === "trusted.overlay.whiteout")) {
        await writer.write({ type: "remove", name });
        return true;
      }
      this.#refuseIndirect(names, path);
      const sent = exact ? entry.tags : undefined;
      const type = sent === undefined ? "file" : "patch";
      const tags = exact || entry.certain ? undefined : makeTags(stat.size);
      await writer.write({ type, name, attributes: attributesOf(stat), size: stat.size });
      await this.#begun(path, async () => {
        await this.#sendAttributes(fd, names);
        if (sent === undefined) await sendContent({ fd, stat, writer, signal }, tags);
        else await sendChanges({ fd, stat, writer, signal }, sent);
        await writer.write({ type: "fileEnd" });
      });
      entry.tags = tags;
      // A change after the first look shows in the next snapshot; the exact pass has no next one.
      if (exact) this.#noteSame(statDescriptor(fd), entry, path);
      return true;
    } finally {
      close(fd);
    }
  }

  async #attributes(target: AttributeTarget, path: Buffer[]): Promise<void> {
    const names = listAttributes(target);
    this.#refuseIndirect(names, path);
    await this.#sendAttributes(target, names);
  }

  async #sendAttributes(target: AttributeTarget, names: Buffer[]): Promise<void> {
    for (const name of names) {
      const text = name.toString("latin1");
      if (hostAttributes.has(text)) continue;
      const overlay = this.#layer && text.startsWith(overlayPrefix);
      if (overlay && !text.startsWith(escapedPrefix)) continue;
      const value = getAttribute(target, name);
      if (value === undefined) continue;
      const sentName = overlay ? Buffer.from(overlayPrefix + text.slice(escapedPrefix.length), "latin1") : name;
      await this.#options.writer.write({ type: "attribute", name: sentName, value });
    }
  }

  /** Overlay entries whose content lies under another name in a lower layer. */
  #refuseIndirect(names: readonly Buffer[], path: Buffer[]): void {
    if (!this.#layer) return;
    for (const name of names) {
      const text = name.toString("latin1");
      if (text === "trusted.overlay.redirect" || text === "trusted.overlay.metacopy")
        throw new DmigrateError(
          "not-migratable",
          `${this.#where(path)} has the attribute ${text}: its content is in another layer under another name; ` +
            "mount overlays without redirect_dir and metacopy (module options of overlay) and create the container again",
        );
    }
  }

  #rememberLink(entry: TreeEntry, path: Buffer[]): void {
    const parts = path.flatMap((part, index) => (index === 0 ? [part] : [Buffer.from("/"), part]));
    const joined = Buffer.concat(parts);
    if (joined.length >= 4096)
      throw new DmigrateError("not-migratable", `${this.#where(path)} is a hard link with a path beyond 4095 bytes`);
    this.#links.set(entry.identity, joined);
  }

  #failure(path: Buffer[], what: string, cause?: unknown): DmigrateError {
    return new DmigrateError("transfer-failed", `${this.#where(path)} could not be sent: ${what}`, { cause });
  }

  #where(path: Buffer[]): string {
    return `${this.#options.tree.label}: /${path
      .map((part) => part.toString())
      .filter(Boolean)
      .join("/")}`;
  }
}

/** An open file, and what was seen of it. */
interface OpenedFile {
  fd: number;
  name: Buffer;
  stat: FileStat;
  names: Buffer[];
  entry: TreeEntry;
  path: Buffer[];
}

/** Files up to this size are read at once, and share frames. */
const smallBytes = 64 * 1024;
/** What the records of a small file take beside its data, at most. */
const smallRoomBytes = 512;

const changedText = "something outside the frozen container changed it while it was sent";

/** What was passed over was not sent, nor anything in it. */
function distrust(entry: TreeEntry): void {
  entry.certain = false;
  for (const child of entry.children?.values() ?? []) distrust(child);
}

function attributesOf({ mode, uid, gid, accessNs, modifyNs }: FileStat): Attributes {
  return { mode, uid, gid, accessNs, modifyNs };
}
