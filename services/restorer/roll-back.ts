/** Use case: undo a restore that has not resumed. What was here before the migration is as it was. */
import { rm, rmdir } from "node:fs/promises";
import { DmigrateError } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import { migrationPaths } from "../shared/node-paths.ts";
import { clearBindDirectory } from "./adapters/bind-directories.ts";
import { clearAway } from "./clear-away.ts";
import type { RestorerDeps, Session } from "./session.ts";

export interface RollBackOptions {
  /** Volumes and directories that the restore was the first to use stay, and what is in them. */
  keepData?: boolean;
}

/** Undoes every step in the journal, in reverse order; then forgets the restore. May be called again after a failure. */
export async function rollBack(
  deps: RestorerDeps,
  session: Session,
  reason: string,
  { keepData = false }: RollBackOptions = {},
): Promise<void> {
  const { engine, journal } = deps;
  await withSpan("roll back", {}, async () => {
    if (!(await clearAway(deps, session, reason)))
      throw new DmigrateError("conflict", "the container has been restored: it runs here and nowhere else");
    const { replaced, name, createdVolumes, filledBinds, migrationId } = session.record;
    if (replaced !== undefined) {
      const leftover = await engine.container(replaced.id);
      if (leftover?.name === replaced.heldName) await engine.renameContainer(replaced.id, name);
    }
    if (!keepData) {
      for (const volume of createdVolumes.toReversed()) await engine.removeVolume(volume);
      for (const filled of filledBinds.toReversed()) await clearBindDirectory(filled);
    }
    await removeWorkDir(deps.stateDir, migrationId);
    journal.remove(migrationId);
  });
}

/** What else is in it belongs to the pager and the receive, which take it with them; without them it was made for this restore. */
async function removeWorkDir(stateDir: string, migrationId: string): Promise<void> {
  const { workDir, dir, mountedMark } = migrationPaths(stateDir, migrationId);
  await rm(mountedMark, { force: true });
  for (const each of [workDir, dir]) await rmdir(each).catch(() => undefined);
}
