/**
 * What a predecessor of this process left: its FIFOs closed with it, so every wrapper that waited has given up. Decides
 * what became of each restore, from what runc and Docker say.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../shared/errors.ts";
import { migrationPaths, restoreSpecDir } from "../shared/node-paths.ts";
import { join } from "node:path";
import { clearAway } from "./clear-away.ts";
import { readResult } from "./adapters/gate.ts";
import { processesOf } from "./adapters/processes.ts";
import { prove, withCriuError } from "./resume-restore.ts";
import { advance, note, type RestorerDeps, type Session } from "./session.ts";
import { withSpan } from "../shared/telemetry.ts";

const gone = "the restorer was restarted while the container waited for its checkpoint; it was not started";

/** Settles one restore found in the journal. Throws when it cannot be decided now; it may be called again. */
export async function recoverRestore(deps: RestorerDeps, session: Session): Promise<void> {
  const { state, rcuBefore } = session.record;
  if (state === "preparing" || state === "waiting") {
    await clearAway(deps, session, gone);
    advance(deps, session, "given-up", { error: gone });
  } else if (state === "resuming") {
    await withSpan("recover", {}, () => settleResuming(deps, session));
    if (rcuBefore !== undefined) deps.rcu.off(rcuBefore);
  }
}

/** The container may run. It does if the restore went through to its end; else nothing of it may stay. */
async function settleResuming(deps: RestorerDeps, session: Session): Promise<void> {
  const { containerId, migrationId } = session.record;
  if (containerId === undefined) return;
  const { workDir } = migrationPaths(deps.stateDir, migrationId);
  try {
    await restoreEnded(deps, containerId);
    await prove(deps, containerId, join(workDir, "stats-restore"), 0);
    advance(deps, session, "proven");
  } catch (error) {
    const why = `the restorer was restarted during the restore, which did not succeed: ${messageOf(error)}`;
    const text = await withCriuError(why, workDir);
    note(deps, session, { error: text });
    await clearAway(deps, session, text);
    advance(deps, session, "given-up");
  }
}

/** Waits for the end of a `runc restore` that a predecessor let go; its exit code is written last. */
async function restoreEnded(deps: RestorerDeps, containerId: string): Promise<void> {
  const dir = restoreSpecDir(deps.stateDir, containerId);
  const deadline = performance.now() + deps.limits.resumeMs;
  // It is no child of ours, so there is nothing to wait on; this is the path after a crash only.
  while (performance.now() < deadline) {
    const { status } = readResult(dir);
    if (status !== undefined || (await processesOf(containerId)).length === 0) return;
    await sleep(20);
  }
}
