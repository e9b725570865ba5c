/**
 * Passes over a container's trees. The first one, while the container runs, looks at everything and sends it at once; those
 * that may follow send what has changed, and settle nothing; the last one, inside the freeze, looks at what was reported to
 * have changed since the first. Where reports can't be relied on it looks at everything again and compares.
 */
import type { Span } from "@opentelemetry/api";
import { withSpan } from "../shared/telemetry.ts";
import { statDescriptor } from "../shared/adapters/linux.ts";
import { BlockCopies } from "./adapters/block-copies.ts";
import { ContentCopies } from "./adapters/content-copies.ts";
import type { SourceTrees } from "./adapters/container-trees.ts";
import { RecordWriter } from "./adapters/record-writer.ts";
import { closeRoots, openRoots, takeSnapshot, type LookOptions, type Snapshot } from "./adapters/snapshot.ts";
import { RefreshDoubt, refreshTree, type NamesToLookAt } from "./adapters/tree-refresh.ts";
import { sendChangesPass } from "./adapters/changes-pass.ts";
import { contentsOf, sendContentPass } from "./adapters/content-pass.ts";
import { sendFirstPass } from "./adapters/first-pass.ts";
import type { LivePassOptions } from "./adapters/live-pass.ts";
import { sendTree } from "./adapters/tree-sender.ts";
import { scanWriters, type Writers } from "./adapters/writers.ts";
import { ChangeWatch, type Changes } from "./change-watch.ts";
import type { Priority } from "./core/priority-queue.ts";
import { markChanges, uncertainOf, type TreeEntry } from "./core/tree-diff.ts";
import { isAttached, TreeIndex } from "./core/tree-index.ts";
import type { FileJobs, JobWork } from "./file-jobs.ts";

export interface PassOptions extends SourceTrees {
  jobs: FileJobs;
  priority: Priority;
  signal: AbortSignal;
}

/** What the destination has: the roots as they were sent, and what is known to have changed since. */
export interface SentTrees {
  roots: TreeEntry[];
  /** Until the next pass: it must be closed. `uncertain`: what may differ from what was sent, of each tree. */
  watched: { watch: ChangeWatch; indexes: TreeIndex[]; uncertain: TreeEntry[][] } | undefined;
}

export interface Pass {
  /** Written at the destination. */
  files: number;
  sent: SentTrees;
}

/** Sends everything, as well as can be while the container runs. */
export async function shipAll(options: PassOptions): Promise<Pass> {
  const { trees, freezer, signal } = options;
  const indexes = trees.map(() => new TreeIndex());
  const watch = new ChangeWatch((identity) => indexes.some((index) => index.has(identity)));
  try {
    for (const { tree } of trees) {
      const roots = openRoots(tree);
      watch.watchTree(roots.fd, statDescriptor(roots.fd).identity);
      closeRoots(roots);
    }
    const writers = scanWriters(() => freezer.processes());
    const roots: TreeEntry[] = [];
    const contents = new ContentCopies(options.jobs);
    const files = await send(options, contents, async (writer, job, span) => {
      using copies = new BlockCopies();
      let entries = 0;
      for (const [index, { tree }] of trees.entries()) {
        const onEntry = noting(indexes[index], watch);
        contents.beginTree(index);
        await writer.write({ type: "tree", index });
        const pass = await sendFirstPass({ tree, writers, writer, copies, contents, onEntry, signal: job.signal });
        roots.push(pass.root);
        entries += pass.entries;
      }
      span.setAttribute("entries", entries);
    });
    signal.throwIfAborted();
    const uncertain = roots.map(uncertainOf);
    return { files, sent: { roots, watched: { watch, indexes, uncertain } } };
  } catch (error) {
    watch.close();
    throw error;
  }
}

/**
 * Sends what has changed by now, while the container runs, as well as can be: under names that are known or new, and in
 * large files that stay open. Answers how many files the destination has written; undefined when there is nothing to look
 * at. After a failure `sent` is used up. `seen` is of one transfer: what earlier ones have found in large files.
 */
export async function shipAgain(
  options: PassOptions,
  { roots, watched }: SentTrees,
  seen: Map<TreeEntry, string>,
): Promise<number | undefined> {
  if (watched === undefined) return undefined;
  const { watch, indexes } = watched;
  const changes = watch.take();
  const names = indexes.map((index) => changes && namesOf(index, changes));
  const files = watched.uncertain.map(contentsOf);
  if ([...names.map((each) => each?.size ?? 0), ...files.map(({ length }) => length)].every((n) => n === 0))
    return undefined;
  const writers = scanWriters(() => options.freezer.processes());
  const contents = new ContentCopies(options.jobs);
  const written = await send(options, contents, async (writer, job) => {
    const { signal } = job;
    using copies = new BlockCopies();
    for (const [index, { tree }] of options.trees.entries()) {
      const root = roots[index];
      if (root === undefined) continue;
      const onEntry = noting(indexes[index], watch);
      const onGone = (entry: TreeEntry): void => indexes[index]?.forget(entry);
      contents.beginTree(index);
      const common = { tree, index, root, writer, signal };
      await sendChangesPass({
        ...common,
        names: names[index] ?? new Map<TreeEntry, Set<string>>(),
        writers,
        copies,
        contents,
        onEntry,
        onGone,
      });
      await sendContentPass({ ...common, files: files[index] ?? [], seen });
    }
  });
  watched.uncertain = roots.map(uncertainOf);
  return written;
}

/**
 * Sends what differs from what was sent before, exactly: the container must be frozen, and whatever can't be sent is a
 * failure. `sent` is used up, whatever comes of it.
 */
export async function shipChanges(options: PassOptions, { roots, watched }: SentTrees): Promise<Pass> {
  const changes = watched?.watch.take();
  const trouble = watched?.watch.trouble;
  watched?.watch.close();
  const snapshots = await withSpan("look at files", {}, async (span) => {
    const writers = scanWriters(() => options.freezer.processes());
    const taken: Snapshot[] = [];
    let changed = 0;
    for (const [at, { tree }] of options.trees.entries()) {
      const root = roots[at];
      const index = watched?.indexes[at];
      const look = { tree, writers, exact: true, signal: options.signal };
      const names = index && changes && namesToLookAt(index, changes, writers, watched.uncertain[at] ?? []);
      let marked = names && root && (await refresh(index, root, names, look));
      let snapshot: Snapshot | undefined = index && root && { root, entries: 0 };
      if (snapshot === undefined || marked === undefined) {
        snapshot = await takeSnapshot(look);
        marked = markChanges(root, snapshot.root);
      }
      taken.push(snapshot);
      changed += marked;
    }
    span.setAttributes({ entries: sum(taken.map(({ entries }) => entries)), changed });
    if (trouble !== undefined) span.setAttribute("why everything", trouble);
    return taken;
  });
  const files = snapshots.some(({ root }) => root.send) ? await sendMarked(options, snapshots) : 0;
  return { files, sent: { roots: snapshots.map(({ root }) => root), watched: undefined } };
}

/** For each entry that a pass looks at: what changes of it from then on is to be known. */
const noting =
  (index: TreeIndex | undefined, watch: ChangeWatch): LivePassOptions["onEntry"] =>
  (entry, mergedFd) => {
    index?.add(entry);
    if (mergedFd !== undefined) watch.watchMerged(entry, mergedFd);
  };

/** Answers how many entries must be sent; undefined when the whole tree must be looked at. */
async function refresh(
  index: TreeIndex,
  root: TreeEntry,
  names: NamesToLookAt,
  look: LookOptions,
): Promise<number | undefined> {
  try {
    return await refreshTree(index, root, names, look);
  } catch (error) {
    if (error instanceof RefreshDoubt) return undefined;
    throw error;
  }
}

/** Undefined when any file may have changed. */
function namesToLookAt(
  index: TreeIndex,
  changes: Changes,
  { files }: Writers,
  uncertain: readonly TreeEntry[],
): NamesToLookAt | undefined {
  if (files === undefined) return undefined;
  const open = [...files].flatMap((identity) => index.find(identity));
  return namesOf(index, changes, [...open, ...uncertain.filter(isAttached)]);
}

/** Under which something has changed; and those of `others`. */
function namesOf(index: TreeIndex, changes: Changes, others: readonly TreeEntry[] = []): NamesToLookAt {
  const all: NamesToLookAt = new Map();
  const add = (directory: TreeEntry, names: Iterable<string>): void => {
    const there = all.get(directory);
    if (there === undefined) all.set(directory, new Set(names));
    else for (const name of names) there.add(name);
  };
  const addEntry = (entry: TreeEntry): void => {
    if (entry.children !== undefined) add(entry, []);
    if (entry.parent !== undefined) add(entry.parent, [entry.name]);
  };
  for (const identity of changes.files) index.find(identity).forEach(addEntry);
  for (const [identity, names] of changes.names) for (const entry of index.find(identity)) add(entry, names);
  // A directory that was moved there and back has been two entries, of which one is left.
  for (const [{ identity }, names] of changes.written) for (const entry of index.find(identity)) add(entry, names);
  others.forEach(addEntry);
  return all;
}

/** Sends what the snapshots mark. */
function sendMarked(options: PassOptions, snapshots: readonly Snapshot[]): Promise<number> {
  return send(options, undefined, async (writer, job) => {
    for (const [index, { tree }] of options.trees.entries()) {
      const snapshot = snapshots[index];
      if (snapshot?.root.send !== true) continue;
      await writer.write({ type: "tree", index });
      await sendTree({ tree, root: snapshot.root, writer, signal: job.signal });
    }
  });
}

/** Runs a job that sends records of trees; of those by `contents` the destination may lack some in the end. */
function send(
  { jobs, trees, priority, signal }: PassOptions,
  contents: ContentCopies | undefined,
  work: (writer: RecordWriter, job: JobWork, span: Span) => Promise<void>,
): Promise<number> {
  const names = trees.map(({ name }) => name);
  return withSpan("send files", {}, (span) =>
    jobs.run(
      { kind: "trees", trees: names },
      priority,
      signal,
      async (job) => {
        const writer = new RecordWriter(job);
        await work(writer, job, span);
        await writer.flush();
      },
      (done) => {
        contents?.noteMissing(done);
        if (done.missing !== undefined) span.setAttribute("missing", done.missing.length);
      },
    ),
  );
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
