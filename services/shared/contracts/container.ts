/**
 * A container as the migration sees it: what the destination needs to create it again, and what stands in its way.
 * The dumper reads it on the source; the restorer takes it on the destination.
 */
import { z } from "@hono/zod-openapi";
import { containerIdSchema, countSchema, imageIdSchema, repoDigestSchema, volumeNameSchema } from "./common.ts";

/** A named or anonymous local volume of the container. Its files are moved with it. */
export const volumeSchema = z.strictObject({
  name: volumeNameSchema,
  target: z.string().max(4096),
  readOnly: z.boolean(),
  driver: z.string().max(255),
  labels: z.record(z.string(), z.string()),
  options: z.record(z.string(), z.string()),
});
export type Volume = z.infer<typeof volumeSchema>;

/** A user-defined network the container is attached to, with its settings there. */
export const networkAttachmentSchema = z.strictObject({
  name: z.string().max(255),
  driver: z.string().max(255),
  aliases: z.array(z.string().max(255)),
  ipv4Address: z.string().max(64).optional(),
  ipv6Address: z.string().max(64).optional(),
  linkLocalAddresses: z.array(z.string().max(64)).max(64).optional(),
  macAddress: z.string().max(64).optional(),
  /** `container:alias`, of other containers of the network. */
  links: z.array(z.string().max(512)).max(64).optional(),
  driverOptions: z.record(z.string().max(255), z.string().max(4096)).optional(),
  /** Of the default route, the highest wins; 0 where it is not said. */
  gatewayPriority: z.int().optional(),
});
export type NetworkAttachment = z.infer<typeof networkAttachmentSchema>;

/**
 * Docker's own `Config` and `HostConfig` objects of the container, as `docker inspect` prints them.
 * They are Docker's to validate: the restorer hands them to the destination's Docker with the few changes it needs.
 */
const dockerObjectSchema = z.record(z.string(), z.unknown());

export const containerSpecSchema = z
  .strictObject({
    name: z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/),
    /** Image id, and the reference the container was created with (`redis:7`). */
    imageId: imageIdSchema,
    imageRef: z.string().max(512),
    config: dockerObjectSchema,
    hostConfig: dockerObjectSchema,
    volumes: z.array(volumeSchema).max(256),
    networks: z.array(networkAttachmentSchema).max(64),
  })
  .openapi("ContainerSpec");
export type ContainerSpec = z.infer<typeof containerSpecSchema>;

/** Digests of layers as they are in an archive of the image, the lowest first; more than any image has. */
export const imageLayersSchema = z.array(imageIdSchema).max(512).default([]);

export const refusalSchema = z.object({ code: z.string(), message: z.string() });

/** A log that Docker keeps in files of its own (json-file). */
export const containerLogSchema = z.object({
  /** In the file that is written to, and in those that were rotated. */
  bytes: countSchema,
  rotatedBytes: countSchema,
  /** Lately. */
  bytesPerSecond: z.number().min(0),
  /** Docker rotates its files at some size. */
  limited: z.boolean(),
});
export type ContainerLog = z.infer<typeof containerLogSchema>;

export const containerProfileSchema = z
  .object({
    id: containerIdSchema,
    running: z.boolean(),
    spec: containerSpecSchema,
    /** Bind mounts: each must be declared shared by the caller, or be moved, which only a directory can. */
    bindMounts: z.array(z.object({ source: z.string(), target: z.string(), directory: z.boolean() })),
    /** Host paths; null where the storage driver shows none (then files are read through the merged mount). */
    writableLayerBytes: countSchema,
    /** Of the volumes, and of those bind mounts that were asked for. */
    volumeBytes: countSchema,
    /** The same of each, by the volume's name and by the bind mount's source; absent from a dumper that does not tell. */
    bytesByVolume: z.record(z.string(), countSchema).optional(),
    bytesByBind: z.record(z.string(), countSchema).optional(),
    /** Files, directories and all else that has a name, in the writable layer and the volumes: of what comes to Docker's directory. */
    inodes: countSchema.default(0),
    imageBytes: countSchema,
    /** Digests of its layers as they are unpacked (diff ids), the lowest first. */
    imageLayers: imageLayersSchema,
    /** By which registries have it; none for an image that was built here. */
    repoDigests: z.array(repoDigestSchema).max(64).default([]),
    /** Absent when Docker keeps the log elsewhere: then it does not move. */
    log: containerLogSchema.optional(),
    memoryBytes: countSchema,
    processes: countSchema,
    /** Of files that are open and have no name any more: they move within CRIU's images. */
    namelessBytes: countSchema.default(0),
    /** Open TCP connections that a move without the address will drop. */
    tcpConnections: countSchema,
    /** Everything about the container itself that rules a migration out; empty when it can move. */
    refusals: z.array(refusalSchema),
  })
  .openapi("ContainerProfile");
export type ContainerProfile = z.infer<typeof containerProfileSchema>;
