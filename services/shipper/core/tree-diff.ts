/**
 * What of a tree must be sent, given what was sent before. Values in, marks out: the walk that made the snapshots and
 * the sending that follows the marks are adapters'.
 *
 * The rule: an entry is left out only if it was sent before, has the same signature (all that a stat shows, with the
 * change time), was certain both times, and not changed just before the first look. See adapters/snapshot.ts.
 */
import type { FileTime } from "../../shared/core/file-time.ts";

export type EntryKind = "directory" | "file" | "symlink" | "node" | "whiteout";

/** An entry of a snapshot. Children are by name, as latin1: bytes to characters one to one. */
export interface TreeEntry {
  kind: EntryKind;
  /** Everything a stat shows that a change would change. */
  signature: string;
  /** Which file it is, inode then device; names that share it are hard links. */
  identity: string;
  /** Of a file in a layer: the identity by which the container's processes know it. */
  mergedIdentity: string | undefined;
  /** In which directory, and by which name (as latin1); the root of a tree is in none. */
  parent: TreeEntry | undefined;
  name: string;
  links: number;
  /** False when a process might change it without a trace, or it was not sent as it was seen. */
  certain: boolean;
  /** Changed so shortly before the stat that one more change might have the same time. */
  recent: boolean;
  /** Overlay: nothing of the lower layers shows through. */
  opaque: boolean;
  /** Of a directory that was looked into. */
  children: Map<string, TreeEntry> | undefined;
  /** Set by `markChanges`. */
  send: boolean;
  /** Directories: what stood here is replaced, not merged with. */
  fresh: boolean;
  /** Directories: names that are gone since. */
  removed: string[];
  /** Of a file: what its blocks were when it was sent; undefined when that was not noted. */
  tags: BlockTags | undefined;
}

/** A hash for each block of a file (adapters/block-tags.ts). */
export interface BlockTags {
  blockBytes: number;
  tags: Buffer;
}

/** Marks what of `current` to send; with no `previous`, everything. Answers how many entries are marked. */
export function markChanges(previous: TreeEntry | undefined, current: TreeEntry): number {
  markOwn(previous, current);
  markLinks(current);
  return markAncestors(current);
}

/** The same for one entry and what is below it; its links and ancestors are the caller's. */
export function markOwn(previous: TreeEntry | undefined, current: TreeEntry): void {
  current.send =
    previous === undefined ||
    !previous.certain ||
    previous.recent ||
    !current.certain ||
    previous.signature !== current.signature;
  if (previous?.identity === current.identity && current.links === 1) current.tags = previous.tags;
  if (current.children === undefined) return;
  const before = previous?.kind === "directory" ? previous : undefined;
  const sameOpaque = before !== undefined && before.opaque && before.identity === current.identity;
  current.fresh = current.opaque && !sameOpaque;
  const known = current.fresh ? undefined : before?.children;
  for (const [name, child] of current.children) markOwn(known?.get(name), child);
  current.removed = [...(known?.keys() ?? [])].filter((name) => current.children?.has(name) !== true);
}

/** A file that is sent again is a new file there: all its names must be given to it again. */
function markLinks(root: TreeEntry): void {
  const groups = new Map<string, TreeEntry[]>();
  visit(root, (entry) => {
    if (entry.links < 2 || entry.kind === "directory" || entry.kind === "whiteout") return;
    const group = groups.get(entry.identity);
    if (group === undefined) groups.set(entry.identity, [entry]);
    else group.push(entry);
  });
  for (const group of groups.values()) {
    if (group.some(({ send }) => send)) for (const entry of group) entry.send = true;
  }
}

/** The way to each marked entry is marked too: its directories' times are set after it. */
function markAncestors(entry: TreeEntry): number {
  let marked = 0;
  for (const child of entry.children?.values() ?? []) marked += markAncestors(child);
  if (marked > 0 || entry.removed.length > 0 || entry.fresh) entry.send = true;
  return marked + (entry.send ? 1 : 0);
}

export function visit(entry: TreeEntry, action: (entry: TreeEntry) => void): void {
  action(entry);
  for (const child of entry.children?.values() ?? []) visit(child, action);
}

/** The entries of a tree that may differ from what was sent. */
export function uncertainOf(root: TreeEntry): TreeEntry[] {
  const uncertain: TreeEntry[] = [];
  visit(root, (entry) => {
    if (!entry.certain) uncertain.push(entry);
  });
  return uncertain;
}

/** Timestamps come from a clock that ticks: up to 10 ms on Linux, a second or two where a file system keeps no finer. */
const tickMarginNs = 50_000_000;
const coarseMarginNs = 2_100_000_000;

/**
 * Whether every change after `before` is bound to show in the change time. It is when the time recorded is older by
 * more than the clock's tick: then a later change gets a later time. Writes through a mapping that existed before
 * `before` show nothing, so mapped files must be told apart by other means.
 */
export function changeTimeTells(change: FileTime, before: FileTime): boolean {
  const ageNs = (before.seconds - change.seconds) * 1e9 + before.nanos - change.nanos;
  return ageNs > (change.nanos === 0 ? coarseMarginNs : tickMarginNs);
}
