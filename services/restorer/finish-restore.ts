/** Use case: after the drain. The container is Docker's own from here on. */
import { rm } from "node:fs/promises";
import { restoreSpecDir } from "../shared/node-paths.ts";
import { within, type RestartPolicy } from "./adapters/engine.ts";
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
    const exists = (await deps.engine.container(containerId)) !== undefined;
    if (exists && !autoRemove && policy.Name !== "no" && policy.Name !== "")
      await deps.engine.setRestartPolicy(containerId, policy);
    if (replaced !== undefined) await deps.engine.removeContainer(replaced.id);
    await rm(restoreSpecDir(deps.stateDir, containerId), { recursive: true, force: true });
  }
  advance(deps, session, "policy-set");
}
