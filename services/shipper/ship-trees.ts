/** One pass over a container's trees: look, compare with what was sent before, send what differs. */
import { withSpan } from "../shared/telemetry.ts";
import type { SourceTrees } from "./adapters/container-trees.ts";
import { RecordWriter } from "./adapters/record-writer.ts";
import { takeSnapshot, type Snapshot } from "./adapters/snapshot.ts";
import { sendTree } from "./adapters/tree-sender.ts";
import { scanWriters } from "./adapters/writers.ts";
import type { Priority } from "./core/priority-queue.ts";
import { markChanges, type TreeEntry } from "./core/tree-diff.ts";
import type { FileJobs } from "./file-jobs.ts";

export interface ShipTreesOptions extends SourceTrees {
  jobs: FileJobs;
  /** The roots of the pass before; undefined for the first, while the container still runs. */
  previous: TreeEntry[] | undefined;
  priority: Priority;
  signal: AbortSignal;
}

/**
 * Answers the number of files written, and what was seen: the next pass compares with it. With `previous` the pass is
 * exact: the container must be frozen, and whatever can't be sent is a failure.
 */
export async function shipTrees(options: ShipTreesOptions): Promise<{ files: number; sent: TreeEntry[] }> {
  const { jobs, trees, freezer, previous, priority, signal } = options;
  const exact = previous !== undefined;
  const snapshots = await withSpan("look at files", {}, async (span) => {
    const writers = scanWriters(() => freezer.processes());
    const taken: Snapshot[] = [];
    for (const { tree } of trees) taken.push(await takeSnapshot(tree, writers, exact, signal));
    const marked = taken.map(({ root }, index) => markChanges(previous?.[index], root));
    span.setAttributes({ entries: sum(taken.map(({ entries }) => entries)), changed: sum(marked) });
    return taken;
  });
  const sent = snapshots.map(({ root }) => root);
  if (!sent.some(({ send }) => send)) return { files: 0, sent };
  const files = await withSpan("send files", {}, () =>
    jobs.run({ kind: "trees", trees: trees.map(({ name }) => name) }, priority, signal, async (job) => {
      const writer = new RecordWriter(job.send);
      for (const [index, { tree }] of trees.entries()) {
        const snapshot = snapshots[index];
        if (snapshot?.root.send !== true) continue;
        // What the delta replaces has its room already.
        await writer.write({ type: "tree", index, expectedBytes: exact ? 0 : snapshot.bytes });
        await sendTree({ tree, root: snapshot.root, writer, prune: !exact, exact, signal: job.signal });
      }
      await writer.flush();
    }),
  );
  return { files, sent };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
