/** Settings of the pager when it runs alone. */
import { z } from "zod";
import { listenSchema, nodeConfigShape, readConfig } from "../shared/config.ts";
import { pageServerKinds } from "./pagers.ts";

/** Settings of the pager that the node agent has as well. */
export const pagingConfigShape = {
  /** Who serves the pages: our own page daemon, or `criu lazy-pages`. */
  pager: z.enum(pageServerKinds).default("userfaultfd"),
  /** How long the source may stay out of reach while pages are missing. */
  reconnectSeconds: z.coerce.number().int().min(1).max(86_400).default(600),
};

const pagerConfigShape = {
  ...nodeConfigShape,
  ...pagingConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7412 }),
};

export type PagerConfig = z.infer<z.ZodObject<typeof pagerConfigShape>>;

export const readPagerConfig = (
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): PagerConfig => readConfig(pagerConfigShape, argv, env);
