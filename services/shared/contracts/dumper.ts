/** HTTP contract of the dumper (source node): profile, freeze, dump, seal, commit, abort. */
import { z } from "@hono/zod-openapi";
import { bindPathSchema, containerIdSchema, migrationIdSchema, millisSchema, restartPolicySchema } from "./common.ts";

/**
 * ready → frozen → dumped → sealed → committed, and from all but the last → aborted. While it is `ready` the container runs.
 * Until `sealed`, losing the dumper thaws the source by itself. From `sealed` on only commit or abort moves it, since
 * the destination may be running: the source must never run again by accident.
 */
export const checkpointStateSchema = z.enum(["ready", "frozen", "dumping", "dumped", "sealed", "committed", "aborted"]);
export type CheckpointState = z.infer<typeof checkpointStateSchema>;

export const createCheckpointSchema = z.strictObject({
  migrationId: migrationIdSchema,
  containerId: containerIdSchema,
});
export type CreateCheckpoint = z.infer<typeof createCheckpointSchema>;

export const freezeSchema = z.strictObject({
  /**
   * Go on to dump and seal it as soon as it is frozen, without being told: the answer comes at the freeze all the same, and
   * that of POST …/dump once it is sealed.
   */
  thenDump: z.boolean().default(false),
});
export type Freeze = z.infer<typeof freezeSchema>;

/** A frozen process: its pid in the container's innermost namespace (CRIU's name for it) and on the host. */
export const frozenProcessSchema = z.strictObject({ pid: z.int().min(1), hostPid: z.int().min(1) });
export type FrozenProcess = z.infer<typeof frozenProcessSchema>;

export const checkpointSchema = z
  .object({
    migrationId: migrationIdSchema,
    containerId: containerIdSchema,
    state: checkpointStateSchema,
    /** Wall-clock of the freeze, ISO 8601; and how long the container has been frozen as this answer is sent: 0 before. */
    frozenAt: z.string(),
    frozenForMs: millisSchema,
    /** Time the stages took; absent until done. */
    freezeMs: millisSchema.optional(),
    dumpMs: millisSchema.optional(),
    processes: z.array(frozenProcessSchema),
    /** CRIU images, complete once `dumped`. */
    imagesDir: z.string(),
    /** The restart policy the source had, to be given to the destination (and back on abort). */
    restartPolicy: z.object({ Name: z.string(), MaximumRetryCount: z.int() }),
  })
  .openapi("Checkpoint");
export type Checkpoint = z.infer<typeof checkpointSchema>;

/** Body of abort. `before`: for a dumper whose node was restarted, which ended the container and the knowledge of it. */
export const abortCheckpointSchema = z.strictObject({
  before: z.strictObject({ containerId: containerIdSchema, restartPolicy: restartPolicySchema }).optional(),
});
export type AbortCheckpoint = z.infer<typeof abortCheckpointSchema>;

/** Query of GET /containers/:ref: `moveBind`, repeated, names the bind mounts that are to move as well. */
export const profileQuery = z.strictObject({
  moveBind: z.preprocess((value) => (value === undefined ? [] : [value].flat()), z.array(bindPathSchema).max(64)),
});

/** Body of commit: whether the stopped source container is removed as well. */
export const commitCheckpointSchema = z.strictObject({ removeContainer: z.boolean().default(false) });
