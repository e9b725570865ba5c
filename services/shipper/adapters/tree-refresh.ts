/**
 * Brings a snapshot up to date by looking only at what may have changed, and marks what must be sent. First all the
 * looking, then the changing: while it looks it may find that the snapshot does not fit, and the tree is as it was.
 */
import { close, openBeneath, statAt, statDescriptor, type FileStat } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import { markOwn, visit, type TreeEntry } from "../core/tree-diff.ts";
import { pathOf, type TreeIndex } from "../core/tree-index.ts";
import {
  adopt,
  closeRoots,
  directoryFlagsToOpen,
  openRoots,
  TreeLook,
  tryOpen,
  type LookOptions,
  type Roots,
} from "./snapshot.ts";

/** The snapshot can't be brought up to date: take a new one. */
export class RefreshDoubt extends Error {
  override readonly name = "RefreshDoubt";
}

/** What is now where a name was; undefined when nothing is. */
interface Seen {
  entry: TreeEntry | undefined;
  /** The same directory as before: what is below it stays, its own attributes are these. */
  same: boolean;
}

export type NamesToLookAt = Map<TreeEntry, Set<string>>;

/** Answers how many entries are marked. Throws RefreshDoubt, with nothing changed. */
export async function refreshTree(
  index: TreeIndex,
  root: TreeEntry,
  names: NamesToLookAt,
  options: LookOptions,
): Promise<number> {
  const roots = openRoots(options.tree);
  try {
    const refresh = new Refresh(index, new TreeLook(options, roots), roots);
    refresh.lookAt(root, []);
    for (const [directory, each] of names) refresh.lookAt(directory, each);
    await refresh.look();
    return refresh.apply();
  } finally {
    closeRoots(roots);
  }
}

class Refresh {
  readonly #index: TreeIndex;
  readonly #look: TreeLook;
  readonly #roots: Roots;
  #toLook: NamesToLookAt = new Map();
  readonly #seen = new Map<TreeEntry, Map<string, Seen>>();
  readonly #directories = new Map<TreeEntry, FileStat>();
  /** Entries that are gone, or whose place something else has: nothing below them is there any more. */
  readonly #gone = new Set<TreeEntry>();
  /** Files whose names are all to be looked at: a file may have tens of thousands. */
  readonly #linksLookedAt = new Set<string>();

  constructor(index: TreeIndex, look: TreeLook, roots: Roots) {
    this.#index = index;
    this.#look = look;
    this.#roots = roots;
  }

  lookAt(directory: TreeEntry, names: Iterable<string>): void {
    const there = this.#toLook.get(directory) ?? new Set();
    for (const name of names) if (this.#seen.get(directory)?.has(name) !== true) there.add(name);
    if (there.size > 0 || !this.#directories.has(directory)) this.#toLook.set(directory, there);
  }

  /** Until nothing new turns up; directories before what is in them. */
  async look(): Promise<void> {
    while (this.#toLook.size > 0) {
      const round = [...this.#toLook].map(([directory, names]) => ({ directory, names, path: pathOf(directory) }));
      this.#toLook = new Map();
      round.sort((a, b) => a.path.length - b.path.length);
      for (const { directory, names, path } of round)
        if (!this.#isGone(directory)) await this.#directory(directory, names, path);
    }
  }

  async #directory(directory: TreeEntry, names: Set<string>, path: string[]): Promise<void> {
    const joined = Buffer.from(path.join("/"), "latin1");
    if (joined.length >= 4096) throw new RefreshDoubt("a path is too long");
    const atRoot = path.length === 0;
    const fd = atRoot ? this.#roots.fd : openAgain(this.#roots.fd, joined);
    const { mergedFd: mergedRoot } = this.#roots;
    const mergedFd = atRoot || mergedRoot === undefined ? mergedRoot : tryOpen(mergedRoot, joined);
    try {
      const stat = statDescriptor(fd);
      if (stat.identity !== directory.identity) throw new RefreshDoubt("a directory is another one");
      this.#directories.set(directory, stat);
      const seen = this.#seen.get(directory) ?? new Map<string, Seen>();
      this.#seen.set(directory, seen);
      // All of them, before the looking finds more names: these need not be looked at twice.
      for (const name of names) seen.set(name, { entry: undefined, same: false });
      for (const name of names) seen.set(name, await this.#name(directory, name, fd, mergedFd, path.length));
    } finally {
      if (!atRoot) {
        close(fd);
        if (mergedFd !== undefined) close(mergedFd);
      }
    }
  }

  async #name(
    directory: TreeEntry,
    text: string,
    fd: number,
    mergedFd: number | undefined,
    depth: number,
  ): Promise<Seen> {
    const name = Buffer.from(text, "latin1");
    const before = directory.children?.get(text);
    if (before !== undefined) this.#lookAtLinks(before);
    // One that was not looked into, since it was gone when it was to be opened, is a new one.
    if (before?.children !== undefined) {
      const entry = this.#sameDirectory(before, fd, name);
      if (entry !== undefined) return { entry, same: true };
    }
    if (before !== undefined) this.#gone.add(before);
    const entry = isThere(fd, name) ? await this.#look.child(fd, mergedFd, name, depth) : undefined;
    if (entry !== undefined) visit(entry, (each) => this.#lookAtLinks(each));
    return { entry, same: false };
  }

  /** The directory as it was, with what it shows now; undefined when another is there, or it has become opaque. */
  #sameDirectory(before: TreeEntry, dirFd: number, name: Buffer): TreeEntry | undefined {
    let fd: number;
    try {
      fd = openBeneath(dirFd, name, directoryFlagsToOpen);
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    }
    try {
      const stat = statDescriptor(fd);
      if (stat.identity !== before.identity || this.#look.isOpaque(fd) !== before.opaque) return undefined;
      this.#directories.set(before, stat);
      return before;
    } finally {
      close(fd);
    }
  }

  /** All names of a file with several have changed when one has: each shows how many there are. */
  #lookAtLinks(entry: TreeEntry): void {
    if (!hasLinks(entry) || this.#linksLookedAt.has(entry.identity)) return;
    this.#linksLookedAt.add(entry.identity);
    for (const each of this.#index.find(entry.identity))
      if (each.parent !== undefined) this.lookAt(each.parent, [each.name]);
  }

  #isGone(entry: TreeEntry): boolean {
    for (let at: TreeEntry | undefined = entry; at !== undefined; at = at.parent) if (this.#gone.has(at)) return true;
    return false;
  }

  /** Puts what was seen into the tree. */
  apply(): number {
    const changed: TreeEntry[] = [];
    const directories = [...this.#directories].filter(([directory]) => !this.#isGone(directory));
    const seen = [...this.#seen].filter(([directory]) => !this.#isGone(directory));
    for (const [directory, { signature, links }] of directories) {
      if (directory.signature !== signature || !directory.certain || directory.recent) changed.push(directory);
      Object.assign(directory, { signature, links, certain: true, recent: false });
    }
    for (const [directory, names] of seen)
      for (const [name, { entry, same }] of names) if (!same) this.#replace(directory, name, entry, changed);
    this.#markLinks(changed);
    return markWithAncestors(changed);
  }

  #replace(directory: TreeEntry, name: string, entry: TreeEntry | undefined, changed: TreeEntry[]): void {
    const before = directory.children?.get(name);
    if (entry === undefined) {
      if (before === undefined) return;
      directory.children?.delete(name);
      directory.removed.push(name);
      changed.push(directory);
      return;
    }
    markOwn(before, entry);
    adopt(directory, name, entry);
    this.#index.add(entry);
    visit(entry, (each) => {
      if (each.send || each.fresh || each.removed.length > 0) changed.push(each);
    });
  }

  /** A file that is sent again is a new file there: all its names must be given to it again. */
  #markLinks(changed: TreeEntry[]): void {
    const identities = new Set(changed.filter(hasLinks).map(({ identity }) => identity));
    for (const identity of identities) for (const each of this.#index.find(identity)) changed.push(each);
  }
}

const hasLinks = ({ kind, links }: TreeEntry): boolean => links > 1 && kind !== "directory" && kind !== "whiteout";

/** The way to each marked entry is marked too: its directories' times are set after it. */
function markWithAncestors(changed: readonly TreeEntry[]): number {
  const marked = new Set<TreeEntry>();
  for (const entry of changed)
    for (let at: TreeEntry | undefined = entry; at !== undefined && !marked.has(at); at = at.parent) {
      at.send = true;
      marked.add(at);
    }
  return marked.size;
}

function openAgain(rootFd: number, path: Buffer): number {
  try {
    return openBeneath(rootFd, path, directoryFlagsToOpen);
  } catch (error) {
    throw new RefreshDoubt("a directory is not where it was", { cause: error });
  }
}

function isThere(dirFd: number, name: Buffer): boolean {
  try {
    statAt(dirFd, name);
    return true;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return false;
    throw error;
  }
}
