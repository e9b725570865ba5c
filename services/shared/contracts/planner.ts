/** HTTP contract of the planner: nodes, plans, migrations and their events. */
import { z } from "@hono/zod-openapi";
import {
  bindPathSchema,
  containerIdSchema,
  containerRefSchema,
  countSchema,
  hostSchema,
  migrationIdSchema,
  millisSchema,
  nodeNameSchema,
  nodeResourcesSchema,
  repoDigestSchema,
} from "./common.ts";
import { refusalSchema } from "./container.ts";
import { logRoomSchema } from "./restorer.ts";

const urlSchema = z.url({ protocol: /^https?$/ }).max(512);

/** A node: one agent for all stages, or a URL of its own for a stage that is scaled by itself. */
export const putNodeSchema = z.strictObject({
  agent: z.strictObject({ url: urlSchema, token: z.string().min(16).max(512) }),
  services: z
    .strictObject({ dumper: urlSchema, shipper: urlSchema, pager: urlSchema, restorer: urlSchema })
    .partial()
    .optional(),
  /** Where other nodes reach this node's data port; the agent URL's host when absent. */
  dataHost: hostSchema.optional(),
});
export type PutNode = z.infer<typeof putNodeSchema>;

/** A node as it is shown: never with its token. */
export const nodeSchema = z
  .object({
    name: nodeNameSchema,
    agentUrl: z.string(),
    services: z.record(z.string(), z.string()),
    dataHost: z.string(),
    reachable: z.boolean(),
    error: z.string().optional(),
    resources: nodeResourcesSchema.optional(),
  })
  .openapi("Node");
export type Node = z.infer<typeof nodeSchema>;

export const nodeListSchema = z.object({ nodes: z.array(nodeSchema) }).openapi("NodeList");

/**
 * `post-copy`: the container is resumed first, its memory follows. `hybrid`: memory is sent while it runs, too, if that
 * pays, and confirmed once it is frozen. `stop-and-copy`: it is resumed when all of its memory is at the destination.
 */
export const migrationModeSchema = z.enum(["post-copy", "hybrid", "stop-and-copy"]);
export type MigrationMode = z.infer<typeof migrationModeSchema>;

export const createMigrationSchema = z
  .strictObject({
    container: containerRefSchema,
    from: nodeNameSchema,
    to: nodeNameSchema,
    mode: migrationModeSchema.default("post-copy"),
    /** Remove the source container once the migration is committed, instead of leaving it stopped. */
    removeSource: z.boolean().default(false),
    /** Host paths that both nodes see as the same storage; bind mounts beneath them are allowed. */
    sharedPaths: z.array(z.string().startsWith("/").max(4096)).max(64).default([]),
    /** Sources of bind mounts that are moved like volumes, to the same path at the destination. */
    moveBinds: z.array(bindPathSchema).max(64).default([]),
  })
  .openapi("CreateMigration");
export type CreateMigration = z.infer<typeof createMigrationSchema>;

/** The numbers a migration runs with, and a sentence for each that says what it was computed from. */
export const planSchema = z
  .object({
    container: z.string(),
    containerId: containerIdSchema,
    from: nodeNameSchema,
    to: nodeNameSchema,
    mode: migrationModeSchema,
    readers: z.int().min(1),
    streams: z.int().min(1),
    chunkBytes: countSchema,
    windowBytes: countSchema,
    /** Memory that may be at the destination before its process is there. */
    earlyBytes: countSchema.default(0),
    /** Memory is sent before the freeze too. */
    precopy: z.boolean(),
    /** Memory is sent from the freeze on, not only from the resume on. */
    earlyPages: z.boolean(),
    compression: z.enum(["none", "zstd"]),
    shipImage: z.boolean(),
    /** The missing image is pulled from a registry by this reference; absent when it is sent and nothing else. */
    pull: repoDigestSchema.optional(),
    /** How many of the image's layers the destination has. */
    layersPresent: countSchema.default(0),
    /** So much of the container's files comes side by side with a missing image, and waits for it on the destination's disk. */
    aheadBytes: countSchema.default(0),
    moveBinds: z.array(bindPathSchema).default([]),
    /** The container's log, and the room that is kept for what is added to it; absent when it does not move. */
    log: logRoomSchema.optional(),
    /** Bytes expected to leave the source, and room checked on the destination. */
    expectedBytes: countSchema,
    reasons: z.array(z.string()),
    refusals: z.array(refusalSchema),
  })
  .openapi("Plan");
export type Plan = z.infer<typeof planSchema>;

/**
 * planning → preparing → freezing → dumping → resuming → draining → committing → committed, or, up to and including
 * dumping (and resuming, once it is certain that the destination does not run) → aborting → aborted.
 * `refused`: a preflight check said no; nothing was touched. `failed`: after the commit point; the error says what to do.
 */
export const migrationPhaseSchema = z.enum([
  "planning",
  "preparing",
  "freezing",
  "dumping",
  "resuming",
  "draining",
  "committing",
  "committed",
  "aborting",
  "aborted",
  "refused",
  "failed",
]);
export type MigrationPhase = z.infer<typeof migrationPhaseSchema>;

export const stageSchema = z.object({ name: z.string(), ms: millisSchema });

export const migrationSchema = z
  .object({
    id: migrationIdSchema,
    container: z.string(),
    from: nodeNameSchema,
    to: nodeNameSchema,
    mode: migrationModeSchema,
    phase: migrationPhaseSchema,
    createdAt: z.string(),
    updatedAt: z.string(),
    traceId: z.string().optional(),
    sourceContainerId: containerIdSchema.optional(),
    destinationContainerId: containerIdSchema.optional(),
    /** Nodes that are gone for good by the operator's word: the migration goes on without them. */
    abandoned: z.array(nodeNameSchema).default([]),
    plan: planSchema.optional(),
    error: z
      .object({
        code: z.string(),
        message: z.string(),
        reasons: z.array(refusalSchema).optional(),
      })
      .optional(),
    /** From the freeze of the source to the answer of the destination that the container runs. */
    downtimeMs: millisSchema.optional(),
    /** From the request to the source released. */
    totalMs: millisSchema.optional(),
    bytesSent: countSchema,
    pagesTotal: countSchema,
    pagesFaulted: countSchema,
    pagesPrefetched: countSchema,
    /** Pages that did not travel: they are zero, or equal to one that had been sent. */
    pagesZero: countSchema.default(0),
    pagesEqual: countSchema.default(0),
    /** Stages finished so far, in the order in which they ended. */
    stages: z.array(stageSchema),
  })
  .openapi("Migration");
export type Migration = z.infer<typeof migrationSchema>;

/**
 * The operator's word that a node is gone for good: powered off or fenced, it will never run this migration's container again.
 * While `resuming`, a wrong word about the destination may run the container twice.
 */
export const abandonNodeSchema = z.strictObject({ node: nodeNameSchema }).openapi("AbandonNode");

export const listMigrationsQuery = z.strictObject({ limit: z.coerce.number().int().min(1).max(500).default(50) });
export const migrationListSchema = z.object({ migrations: z.array(migrationSchema) }).openapi("MigrationList");

/** Query of GET /migrations/:id/events. */
export const listEventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).default(0),
  follow: z.stringbool().default(true),
});

/** One event of a migration, as the SSE stream sends it (`event: <type>`, `id: <seq>`, `data: <json>`). */
export const migrationEventSchema = z
  .object({
    seq: z.int().min(1),
    at: z.string(),
    type: z.enum(["phase", "stage", "progress", "warning", "error"]),
    phase: migrationPhaseSchema,
    message: z.string(),
    migration: migrationSchema,
  })
  .openapi("MigrationEvent");
export type MigrationEvent = z.infer<typeof migrationEventSchema>;
