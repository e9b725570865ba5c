/**
 * Undoes a migration that ends before its container runs at the destination. It is only called in phase `aborting`:
 * there it is certain that the destination does not run and never will, so the source is thawed at once, side by side
 * with the destination's clean-up and not behind it: a destination that has died must not keep the source frozen.
 * It is also why the pager goes by force: no process there needs pages any more.
 * What cannot be undone now is tried again for as long as it takes.
 */
import type { AbortCheckpoint } from "../shared/contracts/dumper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import { anything, insist, pause, restorePath, type Resource, type Run } from "./run.ts";

/** Brings a migration from `aborting` to `aborted`. Throws `Stopped` when the planner ends before it is done. */
export async function rollBack(run: Run): Promise<void> {
  const { id, journal, source, destination, timing } = run;
  const options = { timeoutMs: timing.callMs };
  const undoing = { timeoutMs: timing.createMs };
  await withSpan("abort", { attributes: { "dmigrate.migration_id": id } }, () =>
    Promise.all([
      inTurn([
        () =>
          undo(run, "restore", `removing the prepared container on node ${destination.name}`, () =>
            destination.restorer.delete(restorePath(run), anything, undoing),
          ),
        () =>
          undo(run, "pager", `ending the pager on node ${destination.name}`, () =>
            destination.pager.delete(`/pagers/${id}?force=true`, anything, options),
          ),
        () =>
          undo(run, "receive", `ending the receive on node ${destination.name}`, () =>
            destination.shipper.delete(`/receives/${id}`, anything, options),
          ),
      ]),
      inTurn([
        () =>
          undo(run, "checkpoint", `thawing the source on node ${source.name}`, () =>
            source.dumper.post(`/checkpoints/${id}/abort`, before(run), anything, undoing),
          ),
        () =>
          undo(run, "transfer", `ending the transfer on node ${source.name}`, () =>
            source.shipper.delete(`/transfers/${id}`, anything, options),
          ),
      ]),
    ]),
  );
  journal.advance("rolled-back", `rolled back: the container was left to node ${source.name}`);
}

/** For a source that was restarted and does not know the checkpoint any more: how the container was. */
function before({ journal: { migration, job } }: Run): AbortCheckpoint {
  const { sourceContainerId: containerId } = migration;
  const { restartPolicy } = job;
  return containerId === undefined || restartPolicy === undefined ? {} : { before: { containerId, restartPolicy } };
}

async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  for (const step of steps) await step();
}

/** Every undo may be repeated, and answers likewise when there is nothing left to undo. */
async function undo(run: Run, resource: Resource, doing: string, call: () => Promise<unknown>): Promise<void> {
  if (!run.attempted.has(resource)) return;
  const once = (): Promise<unknown> =>
    insist(
      run,
      () =>
        call().catch((error: unknown) => {
          if (!(error instanceof DmigrateError) || error.code !== "not-found") throw error;
        }),
      { doing },
    );
  await once();
  if (!run.uncertain.has(resource)) return;
  // The call that creates it was never answered, and may arrive only now.
  await pause(run, run.timing.settleMs);
  await once();
}
