/**
 * A tree as it stands now, without contents. Each directory is opened relative to its parent with no link followed and
 * no mount crossed, so a container that swaps directories for links leads nowhere but to entries left out.
 */
import { statfsSync } from "node:fs";
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
  /** Allocated bytes of files. */
  bytes: number;
}

/** Deeper ones are refused: each level holds a descriptor. */
export const maxDepth = 500;

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
 * Walks a tree. `exact`: nothing changes it any more, so an entry that vanishes is an error; otherwise it is left out.
 * Throws `not-migratable` where the tree is too deep or has a mount in it.
 */
export async function takeSnapshot(
  tree: SourceTree,
  writers: Writers,
  exact: boolean,
  signal: AbortSignal,
): Promise<Snapshot> {
  const rootFd = openTrustedDirectory(tree.path);
  let mergedFd: number | undefined;
  try {
    if (tree.mergedPath !== undefined) mergedFd = openTrustedDirectory(tree.mergedPath);
    const walk = new Walk(tree, writers, exact, signal, localFileSystems.has(statfsSync(descriptorPath(rootFd)).type));
    const root = await walk.directory(rootFd, mergedFd, statDescriptor(rootFd), 0);
    return { root, entries: walk.entries, bytes: walk.bytes };
  } finally {
    close(rootFd);
    if (mergedFd !== undefined) close(mergedFd);
  }
}

class Walk {
  readonly #tree: SourceTree;
  readonly #writers: Writers;
  readonly #exact: boolean;
  readonly #signal: AbortSignal;
  readonly #local: boolean;
  entries = 0;
  bytes = 0;

  constructor(tree: SourceTree, writers: Writers, exact: boolean, signal: AbortSignal, local: boolean) {
    this.#tree = tree;
    this.#writers = writers;
    this.#exact = exact;
    this.#signal = signal;
    this.#local = local;
  }

  async directory(fd: number, mergedFd: number | undefined, stat: FileStat, depth: number): Promise<TreeEntry> {
    const layer = this.#tree.mergedPath !== undefined;
    const entry = this.#entry(stat, undefined);
    entry.opaque = layer && getAttribute(fd, opaqueAttribute)?.toString() === "y";
    const children = new Map<string, TreeEntry>();
    entry.children = children;
    for (const name of readDirectory(fd)) {
      const wait = breathe(this.#signal);
      if (wait !== undefined) await wait;
      const child = await this.#child(fd, mergedFd, name, depth);
      if (child !== undefined) children.set(name.toString("latin1"), child);
    }
    return entry;
  }

  async #child(fd: number, mergedFd: number | undefined, name: Buffer, depth: number): Promise<TreeEntry | undefined> {
    const stat = this.#unlessGone(() => statAt(fd, name));
    if (stat === undefined) return undefined;
    if ((stat.mode & fileType) !== types.directory) {
      this.bytes += stat.blocks * 512;
      return this.#entry(stat, mergedFd === undefined ? undefined : tryStat(mergedFd, name));
    }
    if (depth + 1 > maxDepth)
      throw new DmigrateError("not-migratable", `${this.#tree.label} has directories more than ${maxDepth} deep`);
    const childFd = this.#unlessGone(() => openBeneath(fd, name, directoryFlagsToOpen));
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

  #entry(stat: FileStat, mergedStat: FileStat | undefined): TreeEntry {
    this.entries++;
    const layer = this.#tree.mergedPath !== undefined;
    const kind = kindOf(stat, layer);
    return {
      kind,
      signature: stat.signature,
      identity: stat.identity,
      links: stat.links,
      certain: this.#certain(stat, kind, layer, mergedStat),
      opaque: false,
      children: undefined,
      send: false,
      fresh: false,
      removed: [],
    };
  }

  /** Whether any later change is bound to show in the stat, and no process can be in the midst of one. */
  #certain(stat: FileStat, kind: EntryKind, layer: boolean, mergedStat: FileStat | undefined): boolean {
    const { files, startedNs } = this.#writers;
    // The second look is taken of a container that stands still: there the time has nothing to tell.
    if (!this.#local || (!this.#exact && !changeTimeTells(stat.changeNs, startedNs))) return false;
    if (kind !== "file") return true;
    if (files === undefined || files.has(stat.identity)) return false;
    if (!layer) return true;
    return mergedStat !== undefined && !files.has(mergedStat.identity);
  }

  #unlessGone<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      if (hasErrno(error, "EXDEV"))
        throw new DmigrateError("not-migratable", `${this.#tree.label} has another file system mounted in it`, {
          cause: error,
        });
      if (!this.#exact && hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    }
  }
}

const tryStat = (fd: number, name: Buffer): FileStat | undefined => quiet(() => statAt(fd, name));
const tryOpen = (fd: number, name: Buffer): number | undefined =>
  quiet(() => openBeneath(fd, name, directoryFlagsToOpen));

/** In the merged mount an entry may have changed meanwhile; without its numbers it is merely not certain. */
function quiet<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
