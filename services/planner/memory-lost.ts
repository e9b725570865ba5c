/**
 * The rest of the memory cannot follow: what is lost, in what state both sides are, and what can be done. Nothing is
 * done here: which of two damaged containers is worth more, the operator alone knows.
 */
import { restoreSchema } from "../shared/contracts/restorer.ts";
import { asDmigrateError, DmigrateError } from "../shared/errors.ts";
import type { Run } from "./run.ts";
import { wayBack } from "./way-back.ts";

/** The error that the migration ends with. `why` is what the destination's pager said, or that its node is gone for good. */
export async function memoryLost(run: Run, why: string): Promise<DmigrateError> {
  const { journal, destination } = run;
  const { pagesTotal, pagesFaulted, pagesPrefetched } = journal.migration;
  const missing = Math.max(0, pagesTotal - pagesFaulted - pagesPrefetched);
  const [there, back] = await Promise.all([destinationState(run), wayBack(run)]);
  return new DmigrateError(
    "transfer-failed",
    `the container was resumed on node ${destination.name}, but the rest of its memory cannot follow ` +
      `(${why}; about ${missing} of ${pagesTotal} pages were missing). ${there} ${back}`,
  );
}

async function destinationState({ id, journal, destination, timing }: Run): Promise<string> {
  const { containerName } = journal.job;
  if (destination.abandoned.aborted)
    return `What the container has done since the freeze is lost with node ${destination.name}.`;
  const options = { timeoutMs: timing.callMs };
  const distrust = "threads that need a missing page wait, or have read zeros: do not trust it";
  try {
    const { state } = await destination.restorer.get(`/restores/${id}`, restoreSchema, options);
    return `Node ${destination.name}: container ${containerName} is ${state}; ${distrust}.`;
  } catch (error) {
    const { code, message } = asDmigrateError(error, "internal", "asking after the restore failed");
    return code === "not-found"
      ? `Node ${destination.name} knows nothing of the container any more.`
      : `Node ${destination.name} does not say what became of container ${containerName} (${message}); where it runs, ${distrust}.`;
  }
}
