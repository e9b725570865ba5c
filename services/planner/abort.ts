/**
 * Undoes a migration that ends before its container runs at the destination. It is only called in phase `aborting`:
 * there it is certain that the destination does not run and never will, so the source is thawed at once, side by side
 * with the destination's clean-up and not behind it: a destination that has died must not keep the source frozen.
 * It is also why the pager goes by force: no process there needs pages any more.
 * What cannot be undone now is tried again for as long as it takes, or until its node is abandoned: then it is told, not undone.
 */
import { DmigrateError } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import { leftAtDestination, leftAtSource } from "./left-behind.ts";
import { NodeAbandoned, type Peer } from "./peer.ts";
import { anything, insist, pause, restorePath, sourceBefore, type Resource, type Run } from "./run.ts";

/** Brings a migration from `aborting` to `aborted`. Throws `Stopped` when the planner ends before it is done. */
export async function rollBack(run: Run): Promise<void> {
  const { id, source, destination, timing } = run;
  const options = { timeoutMs: timing.callMs };
  const undoing = { timeoutMs: timing.createMs };
  await withSpan("abort", { attributes: { "dmigrate.migration_id": id } }, () =>
    Promise.all([
      inTurn([
        () =>
          undo(run, destination, "restore", `removing the prepared container on node ${destination.name}`, () =>
            destination.restorer.delete(restorePath(run), anything, undoing),
          ),
        () =>
          undo(run, destination, "pager", `ending the pager on node ${destination.name}`, () =>
            destination.pager.delete(`/pagers/${id}?force=true`, anything, options),
          ),
        () =>
          undo(run, destination, "receive", `ending the receive on node ${destination.name}`, () =>
            destination.shipper.delete(`/receives/${id}`, anything, options),
          ),
      ]),
      inTurn([
        () =>
          undo(run, source, "checkpoint", `thawing the source on node ${source.name}`, () =>
            source.dumper.post(`/checkpoints/${id}/abort`, sourceBefore(run), anything, undoing),
          ),
        () =>
          undo(run, source, "transfer", `ending the transfer on node ${source.name}`, () =>
            source.shipper.delete(`/transfers/${id}`, anything, options),
          ),
      ]),
    ]),
  );
  end(run);
}

/** Takes the steps on one node; those that are left when it is abandoned are not taken. */
async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  try {
    for (const step of steps) await step();
  } catch (error) {
    if (!(error instanceof NodeAbandoned)) throw error;
  }
}

/** Tells what was not undone, and ends the migration. */
function end(run: Run): void {
  const { journal, source, destination } = run;
  for (const left of [leftAtDestination(run), leftAtSource(run)]) if (left !== undefined) journal.warn(left);
  const what = source.abandoned.aborted
    ? `ended without node ${source.name}, where the container was: node ${source.name} was abandoned`
    : `rolled back: the container was left to node ${source.name}`;
  journal.advance(
    "rolled-back",
    destination.abandoned.aborted ? `${what}; node ${destination.name} was abandoned` : what,
  );
}

/** Every undo may be repeated, and answers likewise when there is nothing left to undo. */
async function undo(
  run: Run,
  node: Peer,
  resource: Resource,
  doing: string,
  call: () => Promise<unknown>,
): Promise<void> {
  if (!run.attempted.has(resource)) return;
  const once = (): Promise<unknown> =>
    insist(
      run,
      node,
      () =>
        call().catch((error: unknown) => {
          if (!(error instanceof DmigrateError) || error.code !== "not-found") throw error;
        }),
      { doing },
    );
  await once();
  if (run.uncertain.has(resource)) {
    // The call that creates it was never answered, and may arrive only now.
    await pause(run, run.timing.settleMs, node.abandoned);
    await once();
  }
  run.attempted.delete(resource);
}
