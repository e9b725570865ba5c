/**
 * A roll back on a node whose journal knows nothing of the migration: it was never asked for anything, or it was restarted,
 * for the journal does not outlive a boot. Docker's own word on the container decides.
 */
import { DmigrateError } from "../shared/errors.ts";
import { hasRun } from "../shared/contracts/restorer.ts";
import { heldNameEnd } from "./core/record.ts";
import type { RestorerDeps } from "./session.ts";

/**
 * Removes the container that the migration had created, and gives the leftover that gave way its name back; may be called
 * again after a failure. False when there was nothing to do. Throws `conflict` when it has ever been started: it was restored, and has run here.
 */
export async function rollBackUnknown(
  { engine, log }: Pick<RestorerDeps, "engine" | "log">,
  migrationId: string,
  containerId: string,
): Promise<boolean> {
  const found = await engine.container(containerId);
  if (found?.hasStarted === true) {
    const message = `container ${found.name} of migration ${migrationId} has run here; this node was restarted since`;
    throw new DmigrateError("conflict", message, { reasons: [{ code: hasRun, message }] });
  }
  if (found !== undefined) {
    log.warn({ migrationId, containerId }, "removing a container of a migration that this node does not know any more");
    await engine.removeContainer(containerId);
  }
  const end = heldNameEnd(migrationId);
  const leftover = (await engine.containers()).find(({ name }) => name.endsWith(end));
  if (leftover !== undefined) await engine.renameContainer(leftover.id, leftover.name.slice(0, -end.length));
  return found !== undefined || leftover !== undefined;
}
