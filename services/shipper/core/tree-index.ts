/**
 * The entries of a tree by which file they are, so that a report of a change finds the names it is about. An entry
 * that has left the tree since is not found any more.
 */
import type { TreeEntry } from "./tree-diff.ts";

export class TreeIndex {
  /** By a number of each identity, since a map of as many strings takes several times as long to fill. */
  readonly #entries = new Map<number, TreeEntry | TreeEntry[]>();

  /** Adds an entry and all below it. */
  add(entry: TreeEntry): void {
    this.#put(entry.identity, entry);
    if (entry.mergedIdentity !== undefined) this.#put(entry.mergedIdentity, entry);
    if (entry.children !== undefined) for (const child of entry.children.values()) this.add(child);
  }

  /** An entry has left the tree, with all below it. */
  forget(entry: TreeEntry): void {
    this.#take(entry.identity, entry);
    if (entry.mergedIdentity !== undefined) this.#take(entry.mergedIdentity, entry);
    if (entry.children !== undefined) for (const child of entry.children.values()) this.forget(child);
  }

  /** The entries that are this file: several for hard links. */
  find(identity: string): TreeEntry[] {
    return this.#candidates(identity).filter((entry) => isIt(entry, identity) && isAttached(entry));
  }

  has(identity: string): boolean {
    return this.#candidates(identity).some((entry) => isIt(entry, identity));
  }

  #candidates(identity: string): TreeEntry[] {
    const found = this.#entries.get(numberOf(identity));
    if (found === undefined) return [];
    return Array.isArray(found) ? found : [found];
  }

  #put(identity: string, entry: TreeEntry): void {
    const number = numberOf(identity);
    const there = this.#entries.get(number);
    if (there === undefined) this.#entries.set(number, entry);
    else if (Array.isArray(there)) {
      // Both of its identities may have the same number.
      if (there.at(-1) !== entry) there.push(entry);
    } else if (there !== entry) this.#entries.set(number, [there, entry]);
  }

  #take(identity: string, entry: TreeEntry): void {
    const number = numberOf(identity);
    const left = this.#candidates(identity).filter((each) => each !== entry);
    if (left.length === 0) this.#entries.delete(number);
    else this.#entries.set(number, left);
  }
}

/** The lowest 30 bits of the inode, which an identity begins with: what the engine holds without an object. */
const numberOf = (identity: string): number =>
  identity.charCodeAt(0) |
  (identity.charCodeAt(1) << 8) |
  (identity.charCodeAt(2) << 16) |
  ((identity.charCodeAt(3) & 0x3f) << 24);

const isIt = (entry: TreeEntry, identity: string): boolean =>
  entry.identity === identity || entry.mergedIdentity === identity;

/** Whether the entry's directory still has it, and so on up to the root. */
export function isAttached(entry: TreeEntry): boolean {
  for (let at = entry; at.parent !== undefined; at = at.parent)
    if (at.parent.children?.get(at.name) !== at) return false;
  return true;
}

/** The entries, and every directory on the way to them that still has them. */
export function onTheWayTo(entries: Iterable<TreeEntry>): Set<TreeEntry> {
  const found = new Set<TreeEntry>();
  for (const entry of entries)
    for (let at: TreeEntry | undefined = entry; at !== undefined && !found.has(at); at = at.parent) found.add(at);
  return found;
}

/** Its names from the root on, as latin1; the root's is none. */
export function pathOf(entry: TreeEntry): string[] {
  const names: string[] = [];
  for (let at = entry; at.parent !== undefined; at = at.parent) names.unshift(at.name);
  return names;
}

/** Names on the way, as one path. */
export const joinPath = (names: readonly Buffer[]): Buffer =>
  Buffer.concat(names.flatMap((name, index) => (index === 0 ? [name] : [Buffer.from("/"), name])));
