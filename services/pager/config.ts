/** Settings of the pager when it runs alone. */
import type { z } from "zod";
import { listenSchema, nodeConfigShape, readConfig } from "../shared/config.ts";

const pagerConfigShape = { ...nodeConfigShape, listen: listenSchema.default({ host: "127.0.0.1", port: 7412 }) };

export type PagerConfig = z.infer<z.ZodObject<typeof pagerConfigShape>>;

export const readPagerConfig = (
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): PagerConfig => readConfig(pagerConfigShape, argv, env);
