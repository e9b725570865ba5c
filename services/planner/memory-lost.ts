/**
 * The rest of the memory cannot follow: what is lost, in what state both sides are, and what can be done. Nothing is
 * done here: which of two damaged containers is worth more, the operator alone knows.
 */
import { checkpointSchema } from "../shared/contracts/dumper.ts";
import { restoreSchema } from "../shared/contracts/restorer.ts";
import { asDmigrateError, DmigrateError } from "../shared/errors.ts";
import type { Run } from "./run.ts";

/** The error that the migration ends with. `why` is what the destination's pager said. */
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

/** What the source still has, and how to go back to it. */
async function wayBack({ id, journal, source, destination, timing }: Run): Promise<string> {
  const { containerName } = journal.job;
  const goBack =
    `to go back to the moment of the freeze, remove the container on node ${destination.name} (docker rm -f ${containerName}), ` +
    `then POST /checkpoints/${id}/abort at the dumper of node ${source.name}; to give the source up, POST /checkpoints/${id}/commit there`;
  try {
    const { state } = await source.dumper.get(`/checkpoints/${id}`, checkpointSchema, { timeoutMs: timing.callMs });
    return state === "sealed"
      ? `Node ${source.name}: the source is still frozen as it was; ${goBack}.`
      : `Node ${source.name}: the source's checkpoint is ${state}.`;
  } catch (error) {
    const { code, message } = asDmigrateError(error, "internal", "asking after the checkpoint failed");
    return code === "not-found"
      ? `Node ${source.name} no longer knows the checkpoint: a restart of the node has ended the frozen source. Its files are ` +
          `there as they were at the freeze: remove the container on node ${destination.name}, and docker start ${containerName} ` +
          `on node ${source.name} begins anew from them.`
      : `Node ${source.name} does not say what became of the source (${message}); unless it was restarted it is frozen there as it was: ${goBack}.`;
  }
}
