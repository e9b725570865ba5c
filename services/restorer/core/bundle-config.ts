/**
 * What the runtime wrapper needs in a bundle's config.json: the hook in which the restore is held, and where CRIU's
 * settings are. Pure. Numbers that JavaScript cannot hold (a ulimit of -1 is 2^64-1 there) pass through digit by digit.
 */
import { z } from "zod";

const hookSchema = z.looseObject({ path: z.string() });
const bundleConfigSchema = z.looseObject({
  process: z.looseObject({ terminal: z.boolean().optional() }),
  root: z.looseObject({ path: z.string() }),
  hooks: z.looseObject({ createRuntime: z.array(hookSchema).optional() }).nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
});

export interface BundleChanges {
  hook: { path: string; args: string[] };
  /** Path of a CRIU configuration file. */
  criuConfig: string;
}

/** config.json's new text. Throws a plain error when it is not a config that we understand. */
export function mendBundleConfig(text: string, { hook, criuConfig }: BundleChanges): string {
  const config = bundleConfigSchema.parse(parseExact(text));
  return JSON.stringify({
    ...config,
    hooks: { ...config.hooks, createRuntime: [...(config.hooks?.createRuntime ?? []), hook] },
    annotations: { ...config.annotations, "org.criu.config": criuConfig },
  });
}

/** ES2026's JSON.parse with source text access; TypeScript's library does not know it yet. */
interface ExactJson {
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
}
const exactJson = JSON as unknown as ExactJson;

function parseExact(text: string): unknown {
  return exactJson.parse(text, (_key, value, { source }) =>
    typeof value === "number" && source !== undefined && String(value) !== source ? exactJson.rawJSON(source) : value,
  );
}

/** CRIU's settings for the restore: connections that the dump found are restored closed, so that their owners notice. */
export const criuRestoreConfig = "tcp-close\n";
