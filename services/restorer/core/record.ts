/**
 * The journal entry of one restore: what was done on this node, written before it is done, so that a restarted
 * restorer can tell the truth and undo it.
 *
 *     preparing ──> waiting ──> resuming ──> resumed ──> finished
 *         └────────────┴────────────┴──> failed
 *
 * `resuming` is entered before the wrapper is let go, and left for `failed` only when it is certain that no process of
 * the container exists here and none will.
 */
import { z } from "zod";
import { containerIdSchema, migrationIdSchema } from "../../shared/contracts/common.ts";
import { restoreStateSchema, type Restore } from "../../shared/contracts/restorer.ts";

export const recordSchema = z.object({
  migrationId: migrationIdSchema,
  name: z.string(),
  state: z.enum(["preparing", ...restoreStateSchema.options]),
  /** Docker was asked to create the container; without its id, the answer was lost. */
  creating: z.boolean().optional(),
  containerId: containerIdSchema.optional(),
  /** The leftover that gives way: its id, and the name it has meanwhile. */
  replaced: z.object({ id: containerIdSchema, heldName: z.string() }).optional(),
  createdVolumes: z.array(z.string()),
  /** Directories that were absent or empty, for bind mounts that move; `made`: the topmost that was absent. */
  filledBinds: z.array(z.object({ path: z.string(), made: z.string().optional() })).default([]),
  /** Docker removes the container by itself when it ends: it takes no restart policy. */
  autoRemove: z.boolean(),
  /** Value of rcu_expedited to put back, while we have changed it. */
  rcuBefore: z.string().optional(),
  error: z.string().optional(),
  prepareMs: z.number().optional(),
  resumeMs: z.number().optional(),
  /** Epoch milliseconds. */
  resumedAt: z.number().optional(),
});
export type RestoreRecord = z.infer<typeof recordSchema>;

/** How the name of a leftover ends while the migration's own container has its name. */
export const heldNameEnd = (migrationId: string): string => `.before-${migrationId}`;

export type RecordEvent = "wrapper-waits" | "let-go" | "proven" | "given-up" | "policy-set";

const next: Record<RestoreRecord["state"], Partial<Record<RecordEvent, RestoreRecord["state"]>>> = {
  preparing: { "wrapper-waits": "waiting", "given-up": "failed" },
  waiting: { "let-go": "resuming", "given-up": "failed" },
  resuming: { proven: "resumed", "given-up": "failed" },
  resumed: { "policy-set": "finished" },
  finished: {},
  failed: { "given-up": "failed" },
};

/** The state after `event`, or undefined when it cannot happen in `state`. */
export function transition(state: RestoreRecord["state"], event: RecordEvent): RestoreRecord["state"] | undefined {
  return next[state][event];
}

/** The record as callers see it; undefined until there is a container to speak of. */
export function toRestore(record: RestoreRecord): Restore | undefined {
  const { migrationId, containerId, state, error, prepareMs, resumeMs } = record;
  if (containerId === undefined || state === "preparing") return undefined;
  return {
    migrationId,
    containerId,
    state,
    ...(error !== undefined && { error }),
    ...(prepareMs !== undefined && { prepareMs }),
    ...(resumeMs !== undefined && { resumeMs }),
  };
}
