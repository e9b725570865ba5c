/**
 * What an abandoned node keeps of a migration that has ended without it, and how to clear it away should the node come back
 * after all. Texts for the operator: nothing is done here.
 */
import { restorePath, sourceBefore, type Resource, type Run } from "./run.ts";

/** After a roll back without the destination; undefined when nothing is left there. */
export function leftAtDestination(run: Run): string | undefined {
  const { id, journal, destination } = run;
  const clearing = callsFor(run, [
    ["restore", `DELETE ${restorePath(run)}`],
    ["pager", `DELETE /pagers/${id}?force=true`],
    ["receive", `DELETE /receives/${id}`],
  ]);
  if (clearing === undefined) return undefined;
  const { destinationContainerId } = journal.migration;
  const container = destinationContainerId === undefined ? "" : ` (${destinationContainerId.slice(0, 12)})`;
  return (
    `node ${destination.name} was abandoned before all that was made there was undone: container ${journal.job.containerName}${container}, ` +
    "its volumes, the pager and the receive may be left. Should the node come back, that container must not run there: " +
    `${clearing} at its agent removes all of it; a container that has run there after all needs docker rm -f`
  );
}

/** After a roll back without the source; undefined when nothing is left there. */
export function leftAtSource(run: Run): string | undefined {
  const { id, journal, source } = run;
  const thawing = callsFor(run, [
    ["checkpoint", `POST /checkpoints/${id}/abort ${JSON.stringify(sourceBefore(run))}`],
    ["transfer", `DELETE /transfers/${id}`],
  ]);
  if (thawing === undefined) return undefined;
  return (
    `node ${source.name} was abandoned, and container ${journal.job.containerName} with it. Should the node come back, the container ` +
    `may be frozen there, or stopped with its restart policy off: ${thawing} at its agent puts it back as it was`
  );
}

/** After a commit without the source. */
export function leftUnreleased({ id, journal, source, destination }: Run): string {
  const { containerName } = journal.job;
  return (
    `node ${source.name} was abandoned before it said that the source is released. Should the node come back, container ${containerName} ` +
    `must not run there, since it runs on node ${destination.name}: POST /checkpoints/${id}/commit {} at its agent ends it where it is still ` +
    `frozen, docker rm ${containerName} removes it once it is stopped, and DELETE /transfers/${id} clears the rest away`
  );
}

/** The calls for what may still be there. */
function callsFor({ attempted }: Run, calls: readonly (readonly [Resource, string])[]): string | undefined {
  const left = calls.filter(([resource]) => attempted.has(resource)).map(([, call]) => call);
  return left.length === 0 ? undefined : left.join(", ");
}
