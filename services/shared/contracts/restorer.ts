/** HTTP contract of the restorer (destination node): create, warm start, resume, finish, roll back. */
import { z } from "@hono/zod-openapi";
import { containerSpecSchema, imageLayersSchema } from "./container.ts";
import {
  bindPathSchema,
  containerIdSchema,
  countSchema,
  imageIdSchema,
  migrationIdSchema,
  millisSchema,
  repoDigestSchema,
  restartPolicySchema,
} from "./common.ts";

/**
 * waiting → resuming → resumed → finished; from waiting and resuming → failed.
 * `waiting`: Docker's start is blocked in the runtime wrapper; no process of the container exists here.
 */
export const restoreStateSchema = z.enum(["waiting", "resuming", "resumed", "finished", "failed"]);
export type RestoreState = z.infer<typeof restoreStateSchema>;

/** The file that Docker writes the container's log to is made so long, and will be filled by the shipper. */
export const logRoomSchema = z.strictObject({
  /** The log as it is now. */
  bytes: countSchema,
  /** For what is written to it until the source stands still; less where the log's limit leaves less. */
  roomBytes: countSchema,
  /** Docker rotates it at some size: then nothing of it may come late. */
  limited: z.boolean(),
});
export type LogRoom = z.infer<typeof logRoomSchema>;

export const createRestoreSchema = z.strictObject({
  migrationId: migrationIdSchema,
  container: containerSpecSchema,
  moveBinds: z.array(bindPathSchema).max(64).default([]),
  /** Absent: the log begins anew. */
  log: logRoomSchema.optional(),
  /**
   * A stopped container of the same name that an earlier migration left here. It is renamed out of the way, removed
   * by finish, and named back by a roll back. Any other container of that name is a conflict.
   */
  replaces: containerIdSchema.optional(),
});
export type CreateRestore = z.infer<typeof createRestoreSchema>;

export const restoreSchema = z
  .object({
    migrationId: migrationIdSchema,
    containerId: containerIdSchema,
    state: restoreStateSchema,
    error: z.string().optional(),
    /** Warm start: from POST until the wrapper waited. Resume: from the release until Docker said running. */
    prepareMs: millisSchema.optional(),
    resumeMs: millisSchema.optional(),
  })
  .openapi("Restore");
export type Restore = z.infer<typeof restoreSchema>;

/** What Docker says of the container once it was resumed; it may have ended by itself, or have been ended. */
export const restoredContainerSchema = z
  .object({
    running: z.boolean(),
    /** Somebody has stopped, killed or removed it through Docker since the resume. */
    stopped: z.boolean(),
    exitCode: z.int(),
    oomKilled: z.boolean(),
  })
  .openapi("RestoredContainer");
export type RestoredContainer = z.infer<typeof restoredContainerSchema>;

/** Why a roll back is refused on a node that knows nothing of the restore: the code of the reason. */
export const hasRun = "has-run";

/** The container that the restore had made: what a node goes by that has been restarted and does not know the restore. */
export const rollBackQuery = z.strictObject({ containerId: containerIdSchema.optional() });

export const finishRestoreSchema = z.strictObject({
  restartPolicy: restartPolicySchema,
});

export const imageParams = z.object({ imageId: imageIdSchema });
/** Asks this node's Docker to pull the image from a registry. */
export const pullImageSchema = z.strictObject({ ref: repoDigestSchema });
export const imagePresenceSchema = z.object({ imageId: imageIdSchema, present: z.boolean() }).openapi("ImagePresence");

/** What would stop this container from being created here, before anything is created. */
export const checkRestoreSchema = z.strictObject({
  container: containerSpecSchema,
  /** Sources of bind mounts that come with it: each must be free here. */
  moveBinds: z.array(bindPathSchema).max(64).default([]),
  /** Sources of bind mounts that both nodes see as the same storage: each must be here. */
  sharedBinds: z.array(z.string().startsWith("/").max(4096)).max(256).default([]),
  replaces: containerIdSchema.optional(),
  /** Of the container's image: which of them are here is told. */
  imageLayers: imageLayersSchema,
});
export type CheckRestore = Pick<CreateRestore, "container" | "moveBinds" | "replaces"> & {
  sharedBinds?: readonly string[];
};

/** A place on this node that files come to. */
export const placeSchema = z.object({
  /** Equal for places that share their room. */
  fileSystem: z.string().max(64),
  path: z.string().max(8192),
  freeBytes: countSchema,
});
export type Place = z.infer<typeof placeSchema>;
export const placesSchema = z.object({
  /** Of image and writable layer; of the log. */
  layers: placeSchema,
  log: placeSchema,
  /** By name. */
  volumes: z.record(z.string(), placeSchema),
  /** Of bind mounts that come along, by source. */
  binds: z.record(z.string(), placeSchema),
});
export type Places = z.infer<typeof placesSchema>;

export const restoreCheckSchema = z
  .object({
    imagePresent: z.boolean(),
    /** Those of the missing image's layers that are here already: they need not be sent. */
    layersPresent: imageLayersSchema,
    /** Where each part would be written; absent from a restorer that does not tell. */
    places: placesSchema.optional(),
    refusals: z.array(z.object({ code: z.string(), message: z.string() })),
  })
  .openapi("RestoreCheck");
export type RestoreCheck = z.infer<typeof restoreCheckSchema>;
