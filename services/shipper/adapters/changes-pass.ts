/**
 * A pass over the names under which something has changed since the first one, while the container runs on: so that little
 * of it is left to be sent inside the freeze. It settles nothing: the exact pass looks at every one of these names again,
 * and compares with what was sent last. It leaves files with several names to that pass, and large ones that stay open for
 * writing to the content pass.
 */
import { close, openBeneath, statAt, statDescriptor } from "../../shared/adapters/linux.ts";
import { visit, type TreeEntry } from "../core/tree-diff.ts";
import { isAttached, onTheWayTo } from "../core/tree-index.ts";
import { breathe } from "./breathe.ts";
import { hasContentPass, unlessMoved } from "./content-pass.ts";
import type { Place } from "./entry-sender.ts";
import { rootPlace, withLivePass, type LivePass, type LivePassOptions, type OpenDirectory } from "./live-pass.ts";
import { directoryFlagsToOpen, kindOf, tryOpen } from "./snapshot.ts";
import type { NamesToLookAt } from "./tree-refresh.ts";

export interface ChangesPassOptions extends LivePassOptions {
  /** The tree's number in the job. */
  index: number;
  root: TreeEntry;
  names: NamesToLookAt;
  /** Called with what has left the tree, with all below it. */
  onGone: (entry: TreeEntry) => void;
}

/** Sends what has changed; the caller flushes. What it sends takes its place in the tree. Throws as the first pass does. */
export async function sendChangesPass(options: ChangesPassOptions): Promise<void> {
  const changed = [...options.names].filter(([directory, names]) => names.size > 0 && isAttached(directory));
  const onTheWay = onTheWayTo(changed.map(([directory]) => directory));
  if (onTheWay.size === 0) return;
  const onEntry: LivePassOptions["onEntry"] = (entry, mergedFd) => {
    // One in a directory that is new here is a file of its own there, wherever its other names are.
    if (entry.kind !== "directory" && entry.links > 1) entry.certain = false;
    options.onEntry(entry, mergedFd);
  };
  await withLivePass({ ...options, onEntry }, async (pass, { fd, mergedFd }) => {
    const { root, index, writer } = options;
    const stat = statDescriptor(fd);
    if (stat.identity !== root.identity) return;
    await writer.write({ type: "tree", index });
    await new ChangesPass(options, pass, onTheWay).directory({ fd, mergedFd, stat, entry: root, path: [] }, rootPlace);
  });
}

class ChangesPass {
  readonly #options: ChangesPassOptions;
  readonly #pass: LivePass;
  readonly #onTheWay: ReadonlySet<TreeEntry>;
  readonly #layer: boolean;

  constructor(options: ChangesPassOptions, pass: LivePass, onTheWay: ReadonlySet<TreeEntry>) {
    this.#options = options;
    this.#pass = pass;
    this.#onTheWay = onTheWay;
    this.#layer = options.tree.mergedPath !== undefined;
  }

  async directory(directory: OpenDirectory, place: Place): Promise<void> {
    const { fd, stat, entry, path } = directory;
    const { sender } = this.#pass;
    await sender.enter(fd, stat, place, { fresh: false, prune: false });
    const names = this.#options.names.get(entry) ?? [];
    // First, so that what was only moved is not there twice.
    for (const name of names) {
      const pause = breathe(this.#options.signal);
      if (pause !== undefined) await pause;
      await this.#removeIfGone(directory, name);
    }
    const below = [...(entry.children ?? [])].filter(([, child]) => this.#onTheWay.has(child)).map(([name]) => name);
    for (const name of new Set([...below, ...names])) {
      const pause = breathe(this.#options.signal);
      if (pause !== undefined) await pause;
      await this.#name(directory, { directories: path, name: Buffer.from(name, "latin1") });
    }
    await sender.leave();
  }

  async #removeIfGone({ fd, entry }: OpenDirectory, text: string): Promise<void> {
    const before = entry.children?.get(text);
    const name = Buffer.from(text, "latin1");
    if (before === undefined || unlessMoved(() => statAt(fd, name)) !== undefined) return;
    // The other names of such a file are looked at with this one.
    if (hasLinksWithin(before)) return;
    entry.children?.delete(text);
    this.#options.onGone(before);
    await this.#options.writer.write({ type: "remove", name });
  }

  async #name(directory: OpenDirectory, place: Place): Promise<void> {
    const { entry } = directory;
    const text = place.name.toString("latin1");
    const before = entry.children?.get(text);
    await this.#send(directory, before, place);
    if (before !== undefined && entry.children?.get(text) !== before) this.#options.onGone(before);
  }

  async #send(directory: OpenDirectory, before: TreeEntry | undefined, place: Place): Promise<void> {
    const stat = unlessMoved(() => statAt(directory.fd, place.name));
    if (stat === undefined) return;
    const isSame = before?.identity === stat.identity;
    if (kindOf(stat, this.#layer) === "directory") {
      if (isSame && before.children !== undefined) await this.#knownDirectory(directory, before, place);
      else await this.#pass.child(directory, place, 0);
      return;
    }
    if (stat.links > 1 || (isSame && (before.signature === stat.signature || hasContentPass(before)))) return;
    await this.#pass.child(directory, place, 0);
  }

  async #knownDirectory({ fd: dirFd, mergedFd }: OpenDirectory, entry: TreeEntry, place: Place): Promise<void> {
    if (!this.#onTheWay.has(entry)) return;
    const fd = unlessMoved(() => openBeneath(dirFd, place.name, directoryFlagsToOpen));
    if (fd === undefined) return;
    const childMerged = mergedFd === undefined ? undefined : tryOpen(mergedFd, place.name);
    try {
      const stat = statDescriptor(fd);
      // Opaque from now on, it is another one: the exact pass begins it anew.
      if (stat.identity !== entry.identity || this.#pass.look.isOpaque(fd) !== entry.opaque) return;
      const path = [...place.directories, place.name];
      await this.directory({ fd, mergedFd: childMerged, stat, entry, path }, place);
    } finally {
      close(fd);
      if (childMerged !== undefined) close(childMerged);
    }
  }
}

function hasLinksWithin(entry: TreeEntry): boolean {
  let found = false;
  visit(entry, ({ kind, links }) => {
    found ||= kind !== "directory" && links > 1;
  });
  return found;
}
