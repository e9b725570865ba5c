/**
 * What the runtime wrapper needs in a bundle's config.json.
 *
 * Docker up to 27 attaches the network in a prestart hook, which a restore would run inside the downtime. That hook only
 * needs a network namespace, so it can run beforehand in one of ours (mode `plain`). From 28 on Docker attaches the
 * network between create and start, to a task that must exist by then (mode `hook`).
 */
import { z } from "zod";
import { emptyMountName, externalMount } from "../../shared/core/criu/external.ts";
import { parseExactJson } from "../../shared/core/exact-json.ts";

const hookSchema = z.looseObject({ path: z.string(), args: z.array(z.string()).optional() });
const namespaceSchema = z.looseObject({ type: z.string(), path: z.string().optional() });
const bundleConfigSchema = z.looseObject({
  root: z.looseObject({ path: z.string() }).optional(),
  hooks: z
    .looseObject({ prestart: z.array(hookSchema).nullish(), createRuntime: z.array(hookSchema).nullish() })
    .nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
  linux: z.looseObject({
    namespaces: z.array(namespaceSchema),
    sysctl: z.record(z.string(), z.string()).nullish(),
    cgroupsPath: z.string().nullish(),
  }),
});
export type BundleConfig = z.infer<typeof bundleConfigSchema>;

/** Throws a plain error when it is not a config.json that we understand. */
export function parseBundleConfig(text: string): BundleConfig {
  return bundleConfigSchema.parse(parseExactJson(text));
}

/** The directory that will be the container's root, where `bundle` is the directory of its config.json. */
export function rootOf({ root }: BundleConfig, bundle: string): string {
  if (root === undefined) throw new Error("config.json names no root directory");
  return root.path.startsWith("/") ? root.path : `${bundle}/${root.path}`;
}

export interface NetworkHook {
  path: string;
  /** argv, the program's name first. */
  args: string[];
  /** Where Docker binds network namespaces. */
  namespacesDir: string;
  /** Where Docker listens for what the hook has to say. */
  socket: string;
}

/** Docker's prestart hook that attaches the network; undefined when there is none, or anything else beside it. */
export function networkHook({ hooks, linux }: BundleConfig): NetworkHook | undefined {
  const [hook, ...others] = hooks?.prestart ?? [];
  const network = linux.namespaces.find(({ type }) => type === "network");
  if (hook === undefined || others.length > 0 || network === undefined || network.path !== undefined) return undefined;
  const args = hook.args ?? [];
  const root = args.find((arg) => arg.startsWith("-exec-root="))?.slice("-exec-root=".length);
  const [name, , controller = ""] = args.filter((arg) => !arg.startsWith("-"));
  if (name !== "libnetwork-setkey" || root?.startsWith("/") !== true || !/^\w+$/.test(controller)) return undefined;
  return { path: hook.path, args, namespacesDir: `${root}/netns`, socket: `${root}/libnetwork/${controller}.sock` };
}

/** Settings of the network namespace by their names, `net.…`: CRIU makes the namespace anew, without them. */
export function networkSysctls({ linux }: BundleConfig): Map<string, string> {
  return new Map(Object.entries(linux.sysctl ?? {}).filter(([name]) => /^net\.[\w./-]+$/.test(name)));
}

/** Where they are below /proc/sys, as runc has it. */
export const settingsOf = (sysctls: ReadonlyMap<string, string>): Map<string, string> =>
  new Map([...sysctls].map(([name, value]) => [name.replaceAll(".", "/"), value]));

export type BundleMode =
  /** The network is attached to the namespace at this path: Docker's hook is done, and runc gives the path to CRIU. */
  { networkPath: string } | { restoreHook: { path: string; args: string[] } };

/** config.json's new text. `criuConfig` is the path of a CRIU configuration file. */
export function mendBundleConfig(config: BundleConfig, mode: BundleMode, criuConfig: string): string {
  const { hooks, linux } = config;
  const annotations = { ...config.annotations, "org.criu.config": criuConfig };
  if ("restoreHook" in mode) {
    const createRuntime = [...(hooks?.createRuntime ?? []), mode.restoreHook];
    return JSON.stringify({ ...config, annotations, hooks: { ...hooks, createRuntime } });
  }
  const namespaces = linux.namespaces.map((namespace) =>
    namespace.type === "network" ? { ...namespace, path: mode.networkPath } : namespace,
  );
  return JSON.stringify({
    ...config,
    annotations,
    hooks: { ...hooks, prestart: undefined },
    linux: { ...linux, namespaces },
  });
}

/**
 * CRIU's settings for the restore: connections that the dump found are restored closed, so that their owners notice,
 * file locks are taken again, and covered directories get the empty one at `emptyDir`. `cgroupRoot`, where control groups are of
 * version 2: the path of the container's.
 */
export function criuRestoreConfig(emptyDir: string, cgroupRoot: string | undefined): string {
  const root = cgroupRoot === undefined ? [] : [`cgroup-root :${cgroupRoot}`];
  return ["tcp-close", "file-locks", externalMount(emptyMountName, emptyDir), ...root, ""].join("\n");
}
