/** Runs one migration from its plan to its end, and takes up one that a predecessor of this process had to leave. */
import { asDmigrateError, DmigrateError } from "../shared/errors.ts";
import { rollBack } from "./abort.ts";
import type { LeftoverTable } from "./adapters/leftover-table.ts";
import { isCancellable } from "./core/phase.ts";
import { drainAndCommit } from "./drain-and-commit.ts";
import { freezeAndResume } from "./freeze-and-resume.ts";
import type { Inspection } from "./inspect.ts";
import { prepare } from "./prepare.ts";
import { cancelError, stage, Stopped, type Run } from "./run.ts";

/**
 * Resolves once committed. Throws the migration's error once it is `aborted` or `failed`, and `Stopped` when the
 * planner ends first.
 */
export async function migrate(run: Run, inspection: Inspection, leftovers: LeftoverTable): Promise<void> {
  const { journal, source, destination } = run;
  try {
    journal.advance("planned", `preparing node ${destination.name}`);
    await stage(run, "prepare", () => prepare(run, inspection));
    journal.advance("prepared", `freezing the container on node ${source.name}`);
    await freezeAndResume(run, inspection.profile);
  } catch (error) {
    await giveUp(run, error);
  }
  await drainAndCommit(run, leftovers);
}

/** Always throws: the error of the migration once everything is as it was before, or `Stopped`. */
export async function giveUp(run: Run, error: unknown): Promise<never> {
  const { journal, cancelled, stopped } = run;
  if (error instanceof Stopped || stopped.aborted) throw new Stopped();
  const failure =
    cancelled.aborted && isCancellable(journal.migration.phase)
      ? cancelError(run)
      : asDmigrateError(error, "internal", "unexpected failure");
  journal.release();
  journal.failed(failure);
  if (isCancellable(journal.migration.phase)) {
    journal.advance("gave-up", `giving up, everything is put back: ${failure.message}`);
  }
  await rollBack(run);
  throw failure;
}

/** The error of a migration that was rolled back because the planner had gone away in the middle of it. */
export const interrupted = (phase: string): DmigrateError =>
  new DmigrateError(
    "unavailable",
    `the planner was restarted while the migration was ${phase}; nothing had resumed yet, so it was rolled back: start it again`,
  );
