/**
 * Makes certain that a container of ours does not run on this node and will not: the wrapper gives up, runc, CRIU and
 * half-restored tasks are killed, the container is removed. Throws `unavailable` when that could not be made certain.
 */
import { rm } from "node:fs/promises";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { restoreSpecDir } from "../shared/node-paths.ts";
import { within } from "./adapters/engine.ts";
import { killProcessesOf } from "./adapters/processes.ts";
import type { RestorerDeps, Session } from "./session.ts";

export async function clearAway(deps: RestorerDeps, session: Session, reason: string): Promise<void> {
  const { gate, started, record } = session;
  const { containerId, migrationId } = record;
  const { cleanUpMs } = deps.limits;
  gate?.stop(reason);
  gate?.close();
  delete session.gate;
  if (containerId === undefined) return;
  try {
    // The spec directory stays until the container is gone: while it is there the wrapper starts nothing.
    if (!(await killProcessesOf(containerId, cleanUpMs)))
      throw new DmigrateError("timeout", `its processes did not die within ${cleanUpMs} ms`);
    if (started !== undefined) await within(cleanUpMs, started, "docker start did not end");
    await within(cleanUpMs, deps.engine.removeContainer(containerId), "docker rm did not end");
    // Docker may have gone on between the first look and its answer.
    if (!(await killProcessesOf(containerId, cleanUpMs)))
      throw new DmigrateError("timeout", `its processes did not die within ${cleanUpMs} ms`);
  } catch (error) {
    throw new DmigrateError(
      "unavailable",
      `restore ${migrationId}: container ${containerId} could not be cleared away, so it may run here: ${messageOf(error)}`,
      { cause: error },
    );
  }
  await rm(restoreSpecDir(deps.stateDir, containerId), { recursive: true, force: true });
}
