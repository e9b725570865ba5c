/**
 * What a predecessor of this process left: its FIFOs closed with it, so every wrapper that waited has given up. Decides
 * what became of each restore, from what runc and Docker say.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { migrationPaths, restoreSpecDir } from "../shared/node-paths.ts";
import { clearAway } from "./clear-away.ts";
import { hasRestored, readResult } from "./adapters/gate.ts";
import { processesOf } from "./adapters/processes.ts";
import { withCriuError } from "./resume-restore.ts";
import { advance, note, type RestorerDeps, type Session } from "./session.ts";
import { withSpan } from "../shared/telemetry.ts";

const gone = "the restorer was restarted while the container waited for its checkpoint; it was not started";
/** How often no process may be seen before none is believed: the wrapper writes the exit code after runc has ended. */
const looksForNone = 10;

/** Settles one restore found in the journal. Throws when it cannot be decided now; it may be called again. */
export async function recoverRestore(deps: RestorerDeps, session: Session): Promise<void> {
  const { state, rcuBefore } = session.record;
  if (state === "preparing" || state === "waiting") {
    if (rcuBefore !== undefined) deps.rcu.off(rcuBefore);
    await clearAway(deps, session, gone);
    advance(deps, session, "given-up", { error: gone });
  } else if (state === "resuming") {
    try {
      await withSpan("recover", {}, () => settleResuming(deps, session));
    } finally {
      if (rcuBefore !== undefined) deps.rcu.off(rcuBefore);
    }
  }
}

/** The container may run. It has if the restore went through to its end; else nothing of it may stay. */
async function settleResuming(deps: RestorerDeps, session: Session): Promise<void> {
  const { containerId, migrationId } = session.record;
  if (containerId === undefined) return;
  const { workDir } = migrationPaths(deps.stateDir, migrationId);
  const specDir = restoreSpecDir(deps.stateDir, containerId);
  await restoreEnded(deps, containerId, specDir);
  if (!hasRestored(specDir)) {
    const text = await withCriuError("the restorer was restarted during the restore, which did not succeed", workDir);
    note(deps, session, { error: text });
    if (await clearAway(deps, session, text)) {
      advance(deps, session, "given-up");
      return;
    }
  }
  advance(deps, session, "proven", { resumedAt: Date.now(), error: undefined });
}

/** Waits for the end of a `runc restore` that a predecessor let go; its exit code is written last. */
async function restoreEnded(deps: RestorerDeps, containerId: string, specDir: string): Promise<void> {
  const deadline = performance.now() + deps.limits.resumeMs;
  // It is no child of ours, so there is nothing to wait on; this is the path after a crash only.
  let looks = 0;
  while (looks < looksForNone && performance.now() < deadline) {
    if (readResult(specDir).status !== undefined) return;
    looks = (await processesOf(containerId)).length === 0 ? looks + 1 : 0;
    await sleep(20);
  }
}
