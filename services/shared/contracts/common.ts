/** Schemas that several services share: identifiers, addresses, problems, node resources. */
import { z } from "@hono/zod-openapi";
import { bindPathProblem } from "../core/bind-path.ts";

/** `m-` and 16 hex digits. It names directories on both nodes, so nothing else is accepted. */
export const migrationIdSchema = z
  .string()
  .regex(/^m-[0-9a-f]{16}$/, "must be m- and 16 hex digits")
  .openapi({ example: "m-0123456789abcdef" });
export const migrationParams = z.object({ id: migrationIdSchema });

/** Full container id, as Docker prints it with --no-trunc. */
export const containerIdSchema = z.string().regex(/^[0-9a-f]{64}$/, "must be a full container id (64 hex digits)");
/** A container id, an id prefix or a name. */
export const containerRefSchema = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/, "must be a container id or name");
export const imageIdSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, "must be an image id (sha256:…)");
/** By which a registry has an image: `redis@sha256:…`, `registry.example:5000/team/app@sha256:…`. */
export const repoDigestSchema = z
  .string()
  .max(512)
  .regex(/^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$/, "must be an image in a registry, by digest (name@sha256:…)");
/** 32 random bytes as hex; the pre-shared key of a migration's data connections. */
export const secretSchema = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 hex digits");
export const nodeNameSchema = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, "must be a node name");
export const volumeNameSchema = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/, "must be a volume name");
/** A directory of the host that a bind mount has for its source, and that moves like a volume. */
export const bindPathSchema = z
  .string()
  .max(4096)
  .superRefine((path, context) => {
    const problem = bindPathProblem(path);
    if (problem !== undefined) context.addIssue({ code: "custom", message: `${path} ${problem}` });
  });
export const hostSchema = z
  .string()
  .max(255)
  .regex(/^[a-zA-Z0-9]([a-zA-Z0-9.:%_-]*[a-zA-Z0-9])?$/, "must be a host name or address");
export const portSchema = z.int().min(1).max(65_535);
export const endpointSchema = z.strictObject({ host: hostSchema, port: portSchema });
export type Endpoint = z.infer<typeof endpointSchema>;

/** Milliseconds, measured on a monotonic clock of the service that reports them. */
export const millisSchema = z.number().min(0);
export const countSchema = z.int().min(0);
/** Threads that read memory at once, each with a connection of its own (link/preamble.ts). */
export const readersSchema = z.int().min(1).max(8);

/** RFC 9457 problem, with our error code, the fields at fault, and the reasons of a refusal. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
    reasons: z.array(z.object({ code: z.string(), message: z.string() })).optional(),
    traceId: z.string().optional(),
  })
  .openapi("Problem");
export type Problem = z.infer<typeof problemSchema>;

/** One thing that readiness depends on. `fix` says what to do when it is not ok. */
export const checkSchema = z.object({
  name: z.string(),
  ok: z.boolean(),
  detail: z.string(),
  fix: z.string().optional(),
});
export type Check = z.infer<typeof checkSchema>;
/** The answer of /healthz, which needs no token. */
export const healthSchema = z.object({ status: z.literal("ok"), services: z.array(z.string()) });
export const readinessSchema = z.object({ ready: z.boolean(), checks: z.array(checkSchema) }).openapi("Readiness");
export type Readiness = z.infer<typeof readinessSchema>;

/** What a node has to spend on a migration. Absent numbers could not be read on this kernel. */
export const nodeResourcesSchema = z
  .object({
    cores: z.int().min(1),
    /** CPU vendor, model and feature flags: a process restored on a CPU without a flag it uses dies. */
    cpu: z.object({ vendor: z.string(), model: z.string(), flags: z.array(z.string()) }),
    arch: z.string(),
    kernel: z.string(),
    loadAverage1m: z.number().min(0),
    /** Share of the last 10 s in which some task waited, percent (kernel Documentation/accounting/psi.rst). */
    pressureSomeAvg10: z.object({
      cpu: z.number().optional(),
      io: z.number().optional(),
      memory: z.number().optional(),
    }),
    memoryTotalBytes: countSchema,
    memoryAvailableBytes: countSchema,
    /** What one thread copies, measured once; absent for an agent that does not tell. */
    memoryBytesPerSecond: z.number().positive().optional(),
    /** Unused swap space; 0 for an agent that does not tell. */
    swapFreeBytes: countSchema.default(0),
    /** Free bytes where Docker keeps layers and volumes. */
    diskFreeBytes: countSchema,
    /** Inodes that are free there; absent where the file system does not count them. */
    diskFreeInodes: countSchema.optional(),
    /** Free bytes under the state directory, which holds CRIU images. */
    stateFreeBytes: countSchema,
    /** Fastest interface that is up, from /sys/class/net/…/speed; absent for virtual links. */
    linkMbitPerSecond: z.number().min(0).optional(),
    docker: z.object({
      version: z.string(),
      storageDriver: z.string(),
      /** Who keeps the images: Docker itself, or containerd (the default from Docker 29 on). Their ids differ. */
      imageStore: z.enum(["docker", "containerd"]).default("docker"),
      rootDir: z.string(),
      cgroupVersion: z.string(),
      runtimes: z.array(z.string()),
      /** The service restores through this Docker runtime; false when the daemon does not know it. */
      hasDmigrateRuntime: z.boolean(),
    }),
    criuVersion: z.string().optional(),
    runcVersion: z.string().optional(),
    /** Migrations this node takes part in now. */
    activeMigrations: countSchema,
  })
  .openapi("NodeResources");
export type NodeResources = z.infer<typeof nodeResourcesSchema>;

/** As Docker names it; `no` where there is none. */
export const restartPolicySchema = z.strictObject({ Name: z.string().max(32), MaximumRetryCount: z.int().min(0) });
export type RestartPolicy = z.infer<typeof restartPolicySchema>;
