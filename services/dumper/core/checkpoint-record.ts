/**
 * What is written down about a checkpoint, so that a dumper started anew knows it, and the states it goes through.
 *
 *     ready ──freeze──> frozen ──dump──> dumping ──dumped──> dumped ──seal──> sealed ──commit──> committed
 *       └─────────────────┴────────────────┴──────────────────┴─────abort──────┴──────────────> aborted
 *
 * `ready` is written before anything is, `frozen` before the container is touched: until then it is nobody's of ours to thaw. Up to `dumped` the container thaws by itself when the dumper is
 * lost; from `sealed` on only commit and abort move it, since the destination may be running.
 */
import { z } from "zod";
import { restartPolicySchema } from "../../shared/contracts/common.ts";
import { containerIdSchema, migrationIdSchema, millisSchema } from "../../shared/contracts/common.ts";
import {
  checkpointStateSchema,
  frozenProcessSchema,
  type Checkpoint,
  type CheckpointState,
} from "../../shared/contracts/dumper.ts";
import { DmigrateError } from "../../shared/errors.ts";

export const checkpointRecordSchema = z.object({
  migrationId: migrationIdSchema,
  containerId: containerIdSchema,
  state: checkpointStateSchema,
  freezer: z.object({ version: z.union([z.literal(1), z.literal(2)]), dir: z.string().startsWith("/") }),
  /** The container's first process, as this node sees it. */
  initPid: z.int().min(1),
  restartPolicy: restartPolicySchema,
  processes: z.array(frozenProcessSchema),
  /** Value of rcu_expedited to put back, while a dump or a commit has changed it. */
  rcuBefore: z.string().optional(),
  /** Epoch milliseconds: when it froze (made ready, until it has), and when it was committed or aborted. */
  frozenAt: z.number(),
  endedAt: z.number().optional(),
  freezeMs: millisSchema.optional(),
  dumpMs: millisSchema.optional(),
});
export type CheckpointRecord = z.infer<typeof checkpointRecordSchema>;

export type CheckpointEvent = "freeze" | "dump" | "dumped" | "seal" | "commit" | "abort";

const transitions: Record<CheckpointEvent, { from: readonly CheckpointState[]; to: CheckpointState }> = {
  freeze: { from: ["ready"], to: "frozen" },
  dump: { from: ["frozen"], to: "dumping" },
  dumped: { from: ["dumping"], to: "dumped" },
  seal: { from: ["dumped"], to: "sealed" },
  commit: { from: ["sealed"], to: "committed" },
  abort: { from: ["ready", "frozen", "dumping", "dumped", "sealed"], to: "aborted" },
};

/** The checkpoint is not in a state that allows what was asked; nothing has been done. */
export class WrongState extends DmigrateError {
  constructor(message: string) {
    super("conflict", message);
  }
}

/** The state after `event`. Throws WrongState. */
export function nextState(
  record: Pick<CheckpointRecord, "migrationId" | "state">,
  event: CheckpointEvent,
): CheckpointState {
  const { from, to } = transitions[event];
  if (from.includes(record.state)) return to;
  throw new WrongState(
    `checkpoint ${record.migrationId} is ${record.state}; ${event} is possible only while it is ${from.join(", ")}`,
  );
}

/** Held only by this dumper: no destination may run its copy yet. */
export const isUnsealed = (state: CheckpointState): boolean => state !== "sealed" && !isEnded(state);

export const isEnded = (state: CheckpointState): boolean => state === "committed" || state === "aborted";

/** The record as the contract shows it. `now` in epoch milliseconds. */
export function toCheckpoint(record: CheckpointRecord, imagesDir: string, now: number): Checkpoint {
  const { freezer: _freezer, initPid: _initPid, frozenAt, endedAt, ...shown } = record;
  return {
    ...shown,
    imagesDir,
    frozenAt: new Date(frozenAt).toISOString(),
    frozenForMs: record.state === "ready" ? 0 : Math.max(0, (endedAt ?? now) - frozenAt),
  };
}
