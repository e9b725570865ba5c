/**
 * The rest of the container's log. The destination has room for it, so it may come behind what the container writes there: after the
 * resume, when nothing waits for it but the clean-up. Only where Docker rotates the file, and may pack it and put it away, what
 * there is comes before the resume, side by side with the images. What cannot be sent is a warning, not a failure.
 */
import { receiveSchema, shippedSchema, transferSchema } from "../shared/contracts/shipper.ts";
import type { CallOptions } from "../shared/client.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Run } from "./run.ts";

/**
 * Sends what the log at the source has more than at the last time, once `when` resolves; that it can be sent is looked at
 * meanwhile. Never rejects, unless `when` does.
 */
export async function shipLog(run: Run, when?: Promise<unknown>): Promise<void> {
  const { id, journal, source, destination, timing, stopped } = run;
  if (journal.migration.plan?.log === undefined) return;
  const call = { timeoutMs: timing.callMs, signal: stopped };
  const look = (): Promise<[boolean, boolean]> =>
    Promise.all([
      // A planner that takes up a commit again may find that the one before it has sent the log and cleaned up.
      exists(source.shipper.get(`/transfers/${id}`, transferSchema, call)),
      // An agent that was started anew there does not know the file any more: nothing to wait for.
      exists(destination.shipper.get(`/receives/${id}`, receiveSchema, call)),
    ]);
  // A node that does not answer now may do so by then.
  const early = when === undefined ? undefined : look().catch(() => undefined);
  await when;
  try {
    const [hasTransfer, hasReceive] = (await early) ?? (await look());
    if (!hasTransfer) return;
    if (!hasReceive) throw new DmigrateError("not-found", "its agent was started anew");
    const move = { timeoutMs: timing.moveMs, signal: stopped };
    await source.shipper.post(`/transfers/${id}/log`, undefined, shippedSchema, move);
  } catch (error) {
    // What is told of an abandoned source says all there is.
    if (!stopped.aborted && !source.abandoned.aborted) warn(run, error);
  }
}

/** Sends what there is of a log that Docker rotates, once the checkpoint is sealed. Never rejects. */
export async function shipSealedLog(run: Run, options: CallOptions): Promise<void> {
  if (run.journal.migration.plan?.log?.limited !== true) return;
  try {
    await run.source.shipper.post(`/transfers/${run.id}/log?when=sealed`, undefined, shippedSchema, options);
  } catch (error) {
    if (options.signal?.aborted !== true) warn(run, error);
  }
}

function warn({ journal, source, destination }: Run, error: unknown): void {
  const where = journal.job.removeSource
    ? `they go with the container that is removed on node ${source.name}`
    : `docker logs of the stopped container on node ${source.name} has them`;
  journal.warn(
    `the last lines of the container's log did not come to node ${destination.name}; ${where}: ${messageOf(error)}`,
  );
}

async function exists(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof DmigrateError && error.code === "not-found") return false;
    throw error;
  }
}
