/**
 * The entries of a tree by which file they are, so that a report of a change finds the names it is about. An entry
 * that has left the tree since is not found any more.
 */
import type { TreeEntry } from "./tree-diff.ts";

export class TreeIndex {
  readonly #entries = new Map<string, TreeEntry | TreeEntry[]>();

  /** Adds an entry and all below it. */
  add(entry: TreeEntry): void {
    this.#put(entry.identity, entry);
    if (entry.mergedIdentity !== undefined) this.#put(entry.mergedIdentity, entry);
    for (const child of entry.children?.values() ?? []) this.add(child);
  }

  /** The entries that are this file: several for hard links. */
  find(identity: string): TreeEntry[] {
    const found = this.#entries.get(identity);
    if (found === undefined) return [];
    return (Array.isArray(found) ? found : [found]).filter(isAttached);
  }

  has(identity: string): boolean {
    return this.#entries.has(identity);
  }

  #put(identity: string, entry: TreeEntry): void {
    const there = this.#entries.get(identity);
    if (there === undefined) this.#entries.set(identity, entry);
    else if (Array.isArray(there)) there.push(entry);
    else if (there !== entry) this.#entries.set(identity, [there, entry]);
  }
}

/** Whether the entry's directory still has it, and so on up to the root. */
function isAttached(entry: TreeEntry): boolean {
  for (let at = entry; at.parent !== undefined; at = at.parent)
    if (at.parent.children?.get(at.name) !== at) return false;
  return true;
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
