/**
 * A pass over the names under which something has changed since the first one, while the container runs on: so that little
 * of it is left to be sent inside the freeze. It settles nothing: the exact pass looks at every one of these names again,
 * and compares with what was sent last. What is gone, and a file with several names, it leaves to that pass, and large files
 * that stay open for writing to the content pass.
 */
import { close, openBeneath, statAt, statDescriptor } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { TreeEntry } from "../core/tree-diff.ts";
import { isAttached } from "../core/tree-index.ts";
import { breathe } from "./breathe.ts";
import { hasContentPass } from "./content-pass.ts";
import type { Place } from "./entry-sender.ts";
import { rootPlace, withFirstPass, type FirstPass, type FirstPassOptions, type OpenDirectory } from "./first-pass.ts";
import { directoryFlagsToOpen, kindOf, tryOpen } from "./snapshot.ts";
import type { NamesToLookAt } from "./tree-refresh.ts";

export interface ChangesPassOptions extends FirstPassOptions {
  /** The tree's number in the job. */
  index: number;
  root: TreeEntry;
  names: NamesToLookAt;
}

/** Sends what has changed; the caller flushes. What it sends takes its place in the tree. Throws as the first pass does. */
export async function sendChangesPass(options: ChangesPassOptions): Promise<void> {
  const onTheWay = new Set<TreeEntry>();
  for (const [directory, names] of options.names)
    if (names.size > 0 && isAttached(directory))
      for (let at: TreeEntry | undefined = directory; at !== undefined && !onTheWay.has(at); at = at.parent)
        onTheWay.add(at);
  if (onTheWay.size === 0) return;
  const onEntry: FirstPassOptions["onEntry"] = (entry, mergedFd) => {
    // One in a directory that is new here is a file of its own there, wherever its other names are.
    if (entry.kind !== "directory" && entry.links > 1) entry.certain = false;
    options.onEntry(entry, mergedFd);
  };
  await withFirstPass({ ...options, onEntry }, async (pass, { fd, mergedFd }) => {
    const { root, index, writer } = options;
    const stat = statDescriptor(fd);
    if (stat.identity !== root.identity) return;
    await writer.write({ type: "tree", index });
    await new ChangesPass(options, pass, onTheWay).directory({ fd, mergedFd, stat, entry: root, path: [] }, rootPlace);
  });
}

class ChangesPass {
  readonly #options: ChangesPassOptions;
  readonly #pass: FirstPass;
  readonly #onTheWay: ReadonlySet<TreeEntry>;
  readonly #layer: boolean;

  constructor(options: ChangesPassOptions, pass: FirstPass, onTheWay: ReadonlySet<TreeEntry>) {
    this.#options = options;
    this.#pass = pass;
    this.#onTheWay = onTheWay;
    this.#layer = options.tree.mergedPath !== undefined;
  }

  async directory(directory: OpenDirectory, place: Place): Promise<void> {
    const { fd, stat, entry, path } = directory;
    const { sender } = this.#pass;
    await sender.enter(fd, stat, place, { fresh: false, prune: false });
    const below = [...(entry.children ?? [])].filter(([, child]) => this.#onTheWay.has(child)).map(([name]) => name);
    for (const name of new Set([...below, ...(this.#options.names.get(entry) ?? [])])) {
      const pause = breathe(this.#options.signal);
      if (pause !== undefined) await pause;
      await this.#name(directory, { directories: path, name: Buffer.from(name, "latin1") });
    }
    await sender.leave();
  }

  async #name(directory: OpenDirectory, place: Place): Promise<void> {
    const { fd, entry } = directory;
    const before = entry.children?.get(place.name.toString("latin1"));
    const stat = unlessGone(() => statAt(fd, place.name));
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
    const fd = unlessGone(() => openBeneath(dirFd, place.name, directoryFlagsToOpen));
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

/** What has another file system in it says so when it is sent. */
function unlessGone<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "ESTALE", "EXDEV")) return undefined;
    throw error;
  }
}
