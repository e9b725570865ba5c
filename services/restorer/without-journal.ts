/**
 * A roll back on a node whose journal knows nothing of the migration: it was never asked for anything, or it was restarted,
 * for the journal does not outlive a boot. Docker's own word on the container decides.
 */
import { DmigrateError } from "../shared/errors.ts";
import { heldNameEnd } from "./core/record.ts";
import type { RestorerDeps } from "./session.ts";

/**
 * Removes the container that the migration had created, and gives the leftover that gave way its name back. False when there
 * is no such container. Throws `conflict` when it has ever been started: it was restored, and has run here.
 */
export async function rollBackUnknown(
  { engine, log }: Pick<RestorerDeps, "engine" | "log">,
  migrationId: string,
  containerId: string,
): Promise<boolean> {
  const found = await engine.container(containerId);
  if (found === undefined) return false;
  if (found.hasStarted)
    throw new DmigrateError(
      "conflict",
      `container ${found.name} of migration ${migrationId} has run here; this node was restarted since`,
    );
  log.warn({ migrationId, containerId }, "removing a container of a migration that this node does not know any more");
  await engine.removeContainer(containerId);
  const leftover = (await engine.containers()).find(({ name }) => name.endsWith(heldNameEnd(migrationId)));
  if (leftover !== undefined) await engine.renameContainer(leftover.id, found.name);
  return true;
}
