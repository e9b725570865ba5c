/** The first pass over a tree, while the container runs: sends everything. */
import { statDescriptor } from "../../shared/adapters/linux.ts";
import { rootPlace, withLivePass, type LivePassOptions } from "./live-pass.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * Sends the tree, and what is not in it goes at the destination; answers what it was as it was sent. The caller has announced
 * it, and flushes. Throws `not-migratable` where the tree is too deep or has a mount in it, and `transfer-failed`.
 */
export function sendFirstPass(options: LivePassOptions): Promise<Snapshot> {
  return withLivePass(options, async (pass, { fd, mergedFd }) => {
    const stat = statDescriptor(fd);
    const root = pass.look.directoryOf(fd, stat);
    await pass.directory({ fd, mergedFd, stat, entry: root, path: [] }, rootPlace);
    return { root, entries: pass.look.entries };
  });
}
