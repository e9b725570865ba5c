/** Settings of the planner. */
import { z } from "zod";
import { linkSecuritySchema } from "../shared/contracts/shipper.ts";
import { commonConfigShape, listenSchema, readConfig } from "../shared/config.ts";

export const plannerConfigShape = {
  ...commonConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7410 }),
  /** Holds the planner's store: nodes with their tokens, migrations, events. It must survive a reboot. */
  stateDir: z.string().startsWith("/").default("/var/lib/dmigrate"),
  /** Migrations that a node may take part in at once. */
  maxPerNode: z.coerce.number().int().min(1).max(64).default(4),
  /** Whether files are encrypted between the nodes; `plain` is for a network that is trusted. */
  linkSecurity: linkSecuritySchema.default("tls"),
  /** Registries that destinations may pull a missing image from: `docker.io,registry.example:5000`. */
  pullFrom: z
    .string()
    .regex(
      /^[a-z0-9.-]+(:\d+)?(,[a-z0-9.-]+(:\d+)?)*$/,
      "must be registries, separated by commas: docker.io,registry.example:5000",
    )
    .transform((text) => text.split(","))
    .optional(),
};

export type PlannerConfig = z.infer<z.ZodObject<typeof plannerConfigShape>>;

export const readPlannerConfig = (argv: readonly string[], env: NodeJS.ProcessEnv): PlannerConfig =>
  readConfig(plannerConfigShape, argv, env);
