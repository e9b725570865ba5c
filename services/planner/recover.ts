/**
 * Takes up a migration that was not finished when the planner ended, from its durable phase alone: rolled back before
 * the commit point, decided by the destination at it, completed after it. Every step may have been taken already.
 */
import { drainAndCommit } from "./drain-and-commit.ts";
import { giveUp, interrupted } from "./migrate.ts";
import type { LeftoverTable } from "./adapters/leftover-table.ts";
import type { Resource, Run } from "./run.ts";
import { ruledOutBecause, settleResume } from "./settle-resume.ts";

/** What may exist on the nodes after an unknown past: all of it. */
export const everything: readonly Resource[] = ["transfer", "receive", "restore", "pager", "checkpoint"];

/** Resolves once committed; throws as `migrate` does. */
export async function recover(run: Run, leftovers: LeftoverTable): Promise<void> {
  const { journal, destination } = run;
  const { phase } = journal.migration;
  switch (phase) {
    case "committed":
    case "aborted":
    case "refused":
    case "failed":
      return;
    case "planning":
    case "preparing":
    case "freezing":
    case "dumping":
    case "aborting":
      return giveUp(run, interrupted(phase));
    case "resuming": {
      const restore = await settleResume(run);
      if (restore === undefined) {
        journal.advance("destination-ruled-out", ruledOutBecause(run));
        return giveUp(run, destination.abandoned.aborted ? destination.abandoned.reason : interrupted(phase));
      }
      const message = `running on node ${destination.name}; the planner was restarted meanwhile`;
      journal.advance("resumed", message, { destinationContainerId: restore.containerId });
      break;
    }
    case "draining":
    case "committing":
      break;
  }
  await drainAndCommit(run, leftovers);
}
