/**
 * Finds out whether the container runs at the destination, when the answer to the resume call is lost or the planner
 * was restarted after the commit point. Asks for as long as it takes, and never guesses: the source stays frozen
 * meanwhile, since a container that runs twice is worse than one that waits. Only the operator's word that the
 * destination is gone for good answers in its stead.
 */
import { hasRun, restoreSchema, type Restore } from "../shared/contracts/restorer.ts";
import { DmigrateError } from "../shared/errors.ts";
import { NodeAbandoned } from "./peer.ts";
import { anything, insist, pause, restorePath, type Run } from "./run.ts";

/**
 * The restore when the container runs at the destination; undefined when it does not and never will, because its
 * restore has been deleted there, or its node was abandoned. Throws `Stopped` when the planner ends.
 */
export async function settleResume(run: Run): Promise<Restore | undefined> {
  try {
    return await askDestination(run);
  } catch (error) {
    // The source is not asked here.
    if (error instanceof NodeAbandoned) return undefined;
    throw error;
  }
}

/** Why the container goes back to the source once `settleResume` has ruled the destination out, for its event. */
export const ruledOutBecause = ({ destination }: Run): string =>
  destination.abandoned.aborted
    ? `node ${destination.name} was abandoned, so the container does not run there`
    : "the container does not run at the destination";

async function askDestination(run: Run): Promise<Restore | undefined> {
  const { id, destination, timing } = run;
  const options = { timeoutMs: timing.callMs };
  const removing = { timeoutMs: timing.createMs };
  const patientUntil = run.clock.now() + timing.resumeMs;
  for (;;) {
    const restore = await insist(
      run,
      destination,
      () => destination.restorer.get(`/restores/${id}`, restoreSchema, options).catch(absent),
      { doing: `asking node ${destination.name} whether the container runs there` },
    );
    if (restore?.state === "resumed" || restore?.state === "finished") return restore;
    // A resume under way ends soon. One that does not is settled by the attempt to remove it, which waits for its end.
    if (restore?.state !== "resuming" || run.clock.now() > patientUntil) {
      // A resume call that is still on its way finds nothing after this.
      const outcome = await insist(
        run,
        destination,
        () => destination.restorer.delete(restorePath(run), anything, removing).then(() => "gone" as const, refused),
        { doing: `removing the prepared container on node ${destination.name}` },
      );
      if (outcome === "gone") return undefined;
      // It knows nothing of the restore, and yet it has run there: the node was restarted. The drain says what is lost.
      const { destinationContainerId: containerId } = run.journal.migration;
      if (outcome === "ran" && containerId !== undefined) return { migrationId: id, containerId, state: "resumed" };
    }
    await pause(run, timing.pollMs);
  }
}

function absent(error: unknown): undefined {
  if (error instanceof DmigrateError && error.code === "not-found") return undefined;
  throw error;
}

/** Not found is gone; a conflict means that it has been resumed after all, so it is asked after again, unless nobody there knows. */
function refused(error: unknown): "gone" | "ran" | "resumed" {
  if (error instanceof DmigrateError && error.code === "not-found") return "gone";
  if (!(error instanceof DmigrateError) || error.code !== "conflict") throw error;
  return error.reasons.some(({ code }) => code === hasRun) ? "ran" : "resumed";
}
