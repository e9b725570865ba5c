/**
 * HTTP contract of the shipper. On the source `/transfers`: the only sender. On the destination `/receives`: the
 * receiver of files. The destination connects to the source's data port; both know the migration's secret.
 */
import { z } from "@hono/zod-openapi";
import { imageLayersSchema } from "./container.ts";
import { frozenProcessSchema } from "./dumper.ts";
import {
  bindPathSchema,
  containerIdSchema,
  countSchema,
  endpointSchema,
  imageIdSchema,
  migrationIdSchema,
  millisSchema,
  portSchema,
  readersSchema,
  secretSchema,
  volumeNameSchema,
} from "./common.ts";

/** `plain`: both ends prove that they know the secret, and nothing is encrypted, but what was changed on its way is refused. For a link that is trusted. */
export const linkSecuritySchema = z.enum(["tls", "plain"]);
export type LinkSecurity = z.infer<typeof linkSecuritySchema>;

export const createTransferSchema = z.strictObject({
  migrationId: migrationIdSchema,
  secret: secretSchema,
  containerId: containerIdSchema,
  volumes: z.array(volumeNameSchema).max(256),
  /** Sources of bind mounts that move as volumes do. */
  binds: z.array(bindPathSchema).max(64).default([]),
  /** How many threads read the memory, each for a connection of its own. */
  readers: readersSchema.default(1),
  /** What files and memory are sent as until measurements decide: the plan's guess. */
  compression: z.enum(["none", "zstd"]).default("none"),
  /** So much of the pages that nobody waits for the system may hold that has not left: what it holds faults cannot overtake. */
  chunkBytes: z
    .int()
    .min(4096)
    .max(4 << 20)
    .optional(),
  /** What the link was found to carry a while ago: that less arrives may have other reasons then. */
  linkBytesPerSecond: z.number().positive().optional(),
  /** With `plain` the source takes connections of either kind. */
  security: linkSecuritySchema.default("tls"),
});
export type CreateTransfer = z.infer<typeof createTransferSchema>;

/** What one part of a transfer moved; `ms` until the destination acknowledged it as written. */
export const shippedSchema = z.object({ files: countSchema, bytes: countSchema, ms: millisSchema }).openapi("Shipped");
export type Shipped = z.infer<typeof shippedSchema>;

/** What the connections for files carry from the source to the destination, as a short probe has found. */
export const linkProbeSchema = z
  .object({ bytesPerSecond: z.number().positive(), bytes: countSchema, ms: millisSchema })
  .openapi("LinkProbe");
export type LinkProbe = z.infer<typeof linkProbeSchema>;

export const shipImageSchema = z.strictObject({
  imageId: imageIdSchema,
  imageRef: z.string().max(512),
  /** Those of its layers that the destination has, and need not be sent. */
  layersPresent: imageLayersSchema,
});
export type ShipImage = z.infer<typeof shipImageSchema>;
/** Query of POST …/images and …/log: with `when`, they are sent as soon as this node's dumper has sealed the checkpoint. */
export const whenSealedQuery = z.strictObject({ when: z.literal("sealed").optional() });
/** With `announce`, the destination is told which pages there are, and may ask for them before it has CRIU's images. */
export const openMemorySchema = z.strictObject({
  processes: z.array(frozenProcessSchema).min(1).max(65_536),
  announce: z.boolean().default(false),
});
export type OpenMemory = z.infer<typeof openMemorySchema>;

/** Pre-copy: how many pages of the running container the destination was told of. */
export const precopySchema = z.object({ pagesAnnounced: countSchema }).openapi("Precopy");
export type Precopy = z.infer<typeof precopySchema>;

export const transferSchema = z
  .object({
    migrationId: migrationIdSchema,
    /** Where the destination connects to. */
    dataPort: portSchema,
    connected: z.boolean(),
    /** Bytes handed to the network for this migration, headers included. */
    bytesSent: countSchema,
    pagesSent: countSchema,
    zeroPages: countSchema,
    /** Pages that did not travel, as one that is equal had before over the same connection. */
    equalPages: countSchema,
    filesSent: countSchema,
  })
  .openapi("Transfer");
export type Transfer = z.infer<typeof transferSchema>;

export const createReceiveSchema = z.strictObject({
  migrationId: migrationIdSchema,
  secret: secretSchema,
  source: endpointSchema,
  /** Connections for files; with more than one, one is kept for what the downtime waits for. */
  streams: z.int().min(1).max(16).default(2),
  /** How this side connects. */
  security: linkSecuritySchema.default("tls"),
});
export type CreateReceive = z.infer<typeof createReceiveSchema>;

/** Answer of DELETE /transfers/:id: whether there was one, and what it had sent. */
export const deletedTransferSchema = z.object({
  deleted: z.boolean(),
  sent: transferSchema.pick({ bytesSent: true, zeroPages: true, equalPages: true }).optional(),
});

/** What of the container is received beside its writable layer. */
export const receiveTargetSchema = z.strictObject({
  volumes: z.array(volumeNameSchema).max(256),
  binds: z.array(bindPathSchema).max(64).default([]),
  /**
   * So much of files that come before the container's are mounted waits for that on disk, and then this is answered at once.
   */
  aheadBytes: countSchema.default(0),
});
export type ReceiveTarget = z.infer<typeof receiveTargetSchema>;

export const receiveSchema = z
  .object({
    migrationId: migrationIdSchema,
    connected: z.boolean(),
    bytesReceived: countSchema,
    filesReceived: countSchema,
  })
  .openapi("Receive");
export type Receive = z.infer<typeof receiveSchema>;
