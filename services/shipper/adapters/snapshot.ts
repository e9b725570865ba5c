/**
 * A tree as it stands now, without contents. Each directory is opened relative to its parent with no link followed and
 * no mount crossed, so a container that swaps directories for links leads nowhere but to entries left out.
 */
import { statfsSync } from "node:fs";
import { getHeapStatistics } from "node:v8";
import {
  close,
  descriptorPath,
  getAttribute,
  openBeneath,
  openFlags,
  openTrustedDirectory,
  readDirectory,
  statAt,
  statDescriptor,
  type FileStat,
} from "../../shared/adapters/linux.ts";
import { timeOf, type FileTime } from "../../shared/core/file-time.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { breathe } from "./breathe.ts";
import { changeTimeTells, type EntryKind, type TreeEntry } from "../core/tree-diff.ts";
import type { Writers } from "./writers.ts";

/** A tree to send: where it lies, and for a layer where the container sees it. */
export interface SourceTree {
  path: string;
  /** Messages name the tree by it: `volume data`. */
  label: string;
  /** The overlay's merged mount, whose files are known to processes by other numbers than the upper layer's. */
  mergedPath: string | undefined;
}

export interface Snapshot {
  root: TreeEntry;
  entries: number;
}

/** Deeper ones are refused: each level holds a descriptor. */
export const maxDepth = 500;
/** More are refused: each takes up to a KiB of memory, of which half is left to the rest of the node. */
const maxEntries = getHeapStatistics().heap_size_limit / 2048;

const fileType = 0o170000;
const types = { directory: 0o040000, file: 0o100000, symlink: 0o120000, character: 0o020000 };

/** File systems whose change times come from this machine's clock: there the comparison of times can be trusted. */
const localFileSystems = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0xf2f52010, 0x2fc12fc1, 0xca451a4e,
]);

export const opaqueAttribute = Buffer.from("trusted.overlay.opaque");
export const directoryFlagsToOpen = openFlags.readOnly | openFlags.directory | openFlags.nonBlock;

export function kindOf(stat: FileStat, layer: boolean): EntryKind {
  switch (stat.mode & fileType) {
    case types.directory:
      return "directory";
    case types.file:
      return "file";
    case types.symlink:
      return "symlink";
    case types.character:
      return layer && stat.nodeMajor === 0 && stat.nodeMinor === 0 ? "whiteout" : "node";
    default:
      return "node";
  }
}

/**
 * CRIU, which dumps the frozen container at the same time, makes an empty directory in its /tmp or / and removes it again
 * (criu/mount.c, get_clean_mnt). It is no part of the container. What it mounts there for a moment it mounts elsewhere than
 * in the layer: one with something in it is the container's own.
 */
function isOfCriu(dirFd: number, name: Buffer): boolean {
  if (!/^cr-tmpfs\.\w{6}$/.test(name.toString("latin1"))) return false;
  try {
    const { mode, uid } = statAt(dirFd, name);
    return (mode & fileType) === types.directory && (mode & 0o777) === 0o700 && uid === 0 && isEmpty(dirFd, name);
  } catch (error) {
    // Removed again; or a mount, which nobody but CRIU makes in a frozen container.
    if (hasErrno(error, "ENOENT", "EXDEV")) return true;
    throw error;
  }
}

function isEmpty(dirFd: number, name: Buffer): boolean {
  const fd = openBeneath(dirFd, name, directoryFlagsToOpen);
  try {
    return readDirectory(fd).next().done === true;
  } finally {
    close(fd);
  }
}

/**
 * Walks a tree. `exact`: nothing changes it any more, so an entry that vanishes is an error; otherwise it is left out.
 * Throws `not-migratable` where the tree is too deep or has a mount in it.
 */
export async function takeSnapshot(options: LookOptions): Promise<Snapshot> {
  const roots = openRoots(options.tree);
  try {
    const look = new TreeLook(options, roots);
    const root = await look.directory(roots.fd, roots.mergedFd, statDescriptor(roots.fd), 0);
    return { root, entries: look.entries };
  } finally {
    closeRoots(roots);
  }
}

export interface LookOptions {
  tree: SourceTree;
  writers: Writers;
  exact: boolean;
  signal: AbortSignal;
  /** Of the tree; by default as many as the process has memory for. */
  maxEntries?: number;
}

/** A tree's root, and that of the merged mount where there is one. */
export interface Roots {
  fd: number;
  mergedFd: number | undefined;
}

export function openRoots({ path, mergedPath }: SourceTree): Roots {
  const fd = openTrustedDirectory(path);
  try {
    return { fd, mergedFd: mergedPath === undefined ? undefined : openTrustedDirectory(mergedPath) };
  } catch (error) {
    close(fd);
    throw error;
  }
}

export function closeRoots({ fd, mergedFd }: Roots): void {
  close(fd);
  if (mergedFd !== undefined) close(mergedFd);
}

/** Looks at entries of one tree. */
export class TreeLook {
  readonly #tree: SourceTree;
  readonly #writers: Writers;
  readonly #exact: boolean;
  readonly #signal: AbortSignal;
  readonly #local: boolean;
  readonly #started: FileTime;
  readonly #maxEntries: number;
  entries = 0;

  constructor({ tree, writers, exact, signal, maxEntries: most = maxEntries }: LookOptions, roots: Roots) {
    this.#tree = tree;
    this.#writers = writers;
    this.#exact = exact;
    this.#signal = signal;
    this.#maxEntries = most;
    this.#started = timeOf(writers.startedNs);
    this.#local = localFileSystems.has(statfsSync(descriptorPath(roots.fd)).type);
  }

  async directory(fd: number, mergedFd: number | undefined, stat: FileStat, depth: number): Promise<TreeEntry> {
    const entry = this.directoryOf(fd, stat);
    for (const name of readDirectory(fd)) {
      const wait = breathe(this.#signal);
      if (wait !== undefined) await wait;
      const child = await this.child(fd, mergedFd, name, depth);
      if (child !== undefined) adopt(entry, name.toString("latin1"), child);
    }
    return entry;
  }

  /** The entry of a directory, with nothing in it yet. */
  directoryOf(fd: number, stat: FileStat): TreeEntry {
    const entry = this.entryOf(stat, undefined);
    entry.opaque = this.isOpaque(fd);
    entry.children = new Map<string, TreeEntry>();
    return entry;
  }

  /** Overlay: nothing of the lower layers shows through this directory. */
  isOpaque(fd: number): boolean {
    return this.#tree.mergedPath !== undefined && getAttribute(fd, opaqueAttribute)?.toString() === "y";
  }

  /** The entry of a name, with all below it; undefined when it vanished meanwhile. */
  async child(fd: number, mergedFd: number | undefined, name: Buffer, depth: number): Promise<TreeEntry | undefined> {
    if (this.#exact && depth <= 1 && isOfCriu(fd, name)) return undefined;
    const stat = this.#unlessGone(() => statAt(fd, name));
    if (stat === undefined) return undefined;
    if ((stat.mode & fileType) !== types.directory)
      return this.entryOf(stat, mergedFd === undefined ? undefined : tryStat(mergedFd, name));
    const childFd = this.openDirectory(fd, name, depth + 1);
    if (childFd === undefined) return undefined;
    const childMerged = mergedFd === undefined ? undefined : tryOpen(mergedFd, name);
    try {
      return await this.directory(childFd, childMerged, statDescriptor(childFd), depth + 1);
    } catch (error) {
      // Removed while it was listed.
      if (!this.#exact && hasErrno(error, "ENOENT")) return undefined;
      throw error;
    } finally {
      close(childFd);
      if (childMerged !== undefined) close(childMerged);
    }
  }

  /** Opens a directory that is to be looked at; undefined when it vanished meanwhile. */
  openDirectory(fd: number, name: Buffer, depth: number): number | undefined {
    if (depth > maxDepth)
      throw new DmigrateError("not-migratable", `${this.#tree.label} has directories more than ${maxDepth} deep`);
    return this.#unlessGone(() => openBeneath(fd, name, directoryFlagsToOpen));
  }

  entryOf(stat: FileStat, mergedStat: FileStat | undefined): TreeEntry {
    if (++this.entries > this.#maxEntries) throw tooMany(this.#tree, this.#maxEntries);
    const layer = this.#tree.mergedPath !== undefined;
    const kind = kindOf(stat, layer);
    return {
      kind,
      signature: stat.signature,
      identity: stat.identity,
      mergedIdentity: kind === "file" ? mergedStat?.identity : undefined,
      parent: undefined,
      name: "",
      links: stat.links,
      certain: this.#certain(stat, kind, layer, mergedStat),
      // The second look is taken of a container that stands still: there the time has nothing to tell.
      recent: !this.#exact && !changeTimeTells(stat.change, this.#started),
      opaque: false,
      children: undefined,
      send: false,
      fresh: false,
      removed: [],
      tags: undefined,
    };
  }

  /** Whether a later change shows in the stat at all, and no process can be in the midst of one. */
  #certain(stat: FileStat, kind: EntryKind, layer: boolean, mergedStat: FileStat | undefined): boolean {
    const { files } = this.#writers;
    if (!this.#local) return false;
    if (kind !== "file") return true;
    if (files === undefined || files.has(stat.identity)) return false;
    if (!layer) return true;
    return mergedStat !== undefined && !files.has(mergedStat.identity);
  }

  #unlessGone<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      if (hasErrno(error, "EXDEV")) throw hasMount(this.#tree, error);
      if (!this.#exact && hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    }
  }
}

const tooMany = ({ label }: SourceTree, most: number): DmigrateError =>
  new DmigrateError(
    "not-migratable",
    `${label} has more than ${Math.floor(most)} files and directories, for which this node's agent has no memory; ` +
      "start it with a larger --max-old-space-size in NODE_OPTIONS, or take out what need not move",
  );

export const hasMount = ({ label }: SourceTree, cause: unknown): DmigrateError =>
  new DmigrateError("not-migratable", `${label} has another file system mounted in it`, { cause });

/** Puts an entry into a directory, in place of what had the name. */
export function adopt(directory: TreeEntry, name: string, child: TreeEntry): void {
  child.parent = directory;
  child.name = name;
  directory.children?.set(name, child);
}

export const tryStat = (fd: number, name: Buffer): FileStat | undefined => quiet(() => statAt(fd, name));
export const tryOpen = (fd: number, name: Buffer): number | undefined =>
  quiet(() => openBeneath(fd, name, directoryFlagsToOpen));

/** In the merged mount an entry may have changed meanwhile; without its numbers it is merely not certain. */
function quiet<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
