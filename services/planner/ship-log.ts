/**
 * The rest of the container's log, after the resume: nothing waits for it but the clean-up. The destination has room for it, so
 * it may come behind what the container writes there. What cannot be sent is a warning, not a failure.
 */
import { shippedSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Run } from "./run.ts";

/** Sends what the log at the source has more than at the last time. Never rejects. */
export async function shipLog({ id, journal, source, destination, timing, stopped }: Run): Promise<void> {
  if (journal.migration.plan?.log === undefined) return;
  try {
    const options = { timeoutMs: timing.moveMs, signal: stopped };
    await source.shipper.post(`/transfers/${id}/log`, undefined, shippedSchema, options);
  } catch (error) {
    // A planner that takes up a commit again finds the transfer removed by the one before it, and the log sent.
    if (stopped.aborted || (error instanceof DmigrateError && error.code === "not-found")) return;
    journal.warn(
      `the last lines of the container's log did not come to node ${destination.name}; docker logs of the stopped container ` +
        `on node ${source.name} has them: ${messageOf(error)}`,
    );
  }
}
