/** What the source still has of a container that is damaged or lost at the destination, for the error of the migration. */
import { checkpointSchema } from "../shared/contracts/dumper.ts";
import { asDmigrateError } from "../shared/errors.ts";
import type { Run } from "./run.ts";

/** Asks the source once, and says in what state it is and how to go back to it. Nothing is done. */
export async function wayBack(run: Run): Promise<string> {
  const { id, journal, source, timing } = run;
  const { containerName, removeSource } = journal.job;
  if (source.abandoned.aborted) return `Node ${source.name} was abandoned, and the source with it.`;
  const abort = `POST /checkpoints/${id}/abort at the dumper of node ${source.name}`;
  const restart = `docker start ${containerName} on node ${source.name} begins anew from them${restarting(run)}`;
  const giveUp = `to give the source up, POST /checkpoints/${id}/commit there`;
  const goBack = `to go back to the moment of the freeze, ${removingFirst(run, abort)}; ${giveUp}`;
  try {
    const { state } = await source.dumper.get(`/checkpoints/${id}`, checkpointSchema, { timeoutMs: timing.callMs });
    if (state === "sealed") return `Node ${source.name}: the source is still frozen as it was; ${goBack}.`;
    if (state !== "committed") return `Node ${source.name}: the source's checkpoint is ${state}.`;
    if (removeSource) return `Node ${source.name}: the source was released, and removed as asked.`;
    return (
      `Node ${source.name}: the source was released and is stopped. Its files are there as they were at the freeze: ` +
      `${removingFirst(run, restart)}.`
    );
  } catch (error) {
    const { code, message } = asDmigrateError(error, "internal", "asking after the checkpoint failed");
    return code === "not-found"
      ? `Node ${source.name} no longer knows the checkpoint: a restart of the node has ended the frozen source. Its files are ` +
          `there as they were at the freeze: ${removingFirst(run, restart)}.`
      : `Node ${source.name} does not say what became of the source (${message}); unless it was restarted or released it is frozen there as it was: ${goBack}.`;
  }
}

/** The restart policy was switched off for the freeze. */
function restarting({ journal: { job } }: Run): string {
  const { Name = "", MaximumRetryCount = 0 } = job.restartPolicy ?? {};
  if (Name === "" || Name === "no") return "";
  const policy = MaximumRetryCount > 0 ? `${Name}:${MaximumRetryCount}` : Name;
  return `, and docker update --restart=${policy} ${job.containerName} gives it its restart policy back`;
}

/** `step`, which makes the source run again, once the destination's container cannot. */
function removingFirst({ journal, destination }: Run, step: string): string {
  const remove = `remove the container on node ${destination.name} (docker rm -f ${journal.job.containerName})`;
  return destination.abandoned.aborted
    ? `${step} (should the other node ever come back, ${remove} before it runs)`
    : `${remove}, then ${step}`;
}
