/** Settings of the restorer run alone. */
import type { z } from "zod";
import { listenSchema, nodeConfigShape, readConfig } from "../shared/config.ts";

export const restorerConfigShape = {
  ...nodeConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7414 }),
};

export type RestorerConfig = z.infer<z.ZodObject<typeof restorerConfigShape>>;

export const readRestorerConfig = (argv: readonly string[], env: NodeJS.ProcessEnv): RestorerConfig =>
  readConfig(restorerConfigShape, argv, env);
