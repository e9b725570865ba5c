/** Use case: after the drain. The container is Docker's own from here on. */
import { rm } from "node:fs/promises";
import type { RestartPolicy } from "../shared/contracts/common.ts";
import { isRestarted } from "../shared/core/restart-policy.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { restoreSpecDir } from "../shared/node-paths.ts";
import { within } from "./adapters/engine.ts";
import { advance, type RestorerDeps, type Session } from "./session.ts";

/**
 * Gives the restart policy back, removes the leftover that gave way (its volumes are the container's now), and lets the
 * wrapper forget the container, so that a stop, start or restart of it is plain runc's.
 */
export async function finishRestore(deps: RestorerDeps, session: Session, policy: RestartPolicy): Promise<void> {
  const { state, containerId, autoRemove, replaced } = session.record;
  if (state === "finished") return;
  if (state === "resumed" && containerId !== undefined) {
    // Until then the container is Docker's only in part; what Docker says of it changes nothing any more.
    if (session.started !== undefined)
      await within(deps.limits.resumeMs, session.started, "docker start of the restored container did not end");
    // It may have ended by itself and been removed since; then there is nothing to set.
    const found = await deps.engine.container(containerId);
    if (found !== undefined && !autoRemove && policy.Name !== "no" && policy.Name !== "")
      await deps.engine.setRestartPolicy(containerId, policy);
    if (replaced !== undefined) await deps.engine.removeContainer(replaced.id);
    await rm(restoreSpecDir(deps.stateDir, containerId), { recursive: true, force: true });
    if (found !== undefined && !autoRemove) await startIfRestarted(deps, session, policy);
  }
  advance(deps, session, "policy-set");
}

/**
 * It may have ended while its restart policy was off: Docker takes a new policy for the next end only. A start that fails is
 * told, and no reason to begin the end of the migration again.
 */
async function startIfRestarted(
  { engine, log }: RestorerDeps,
  { record: { migrationId, containerId = "", resumedAt } }: Session,
  policy: RestartPolicy,
): Promise<void> {
  const found = await engine.container(containerId);
  if (found === undefined || found.running || !isRestarted(policy, found.exitCode)) return;
  if (resumedAt === undefined || (await engine.endOf(containerId, resumedAt)).stopped) return;
  log.warn(
    { migrationId, containerId, exitCode: found.exitCode },
    "the container has ended since the resume; starting it",
  );
  await engine.startContainer(containerId).catch((error: unknown) => {
    if (error instanceof DmigrateError && error.code === "unavailable") throw error;
    log.error({ migrationId, containerId, reason: messageOf(error) }, "the container could not be started again");
  });
}
