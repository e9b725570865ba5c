/** What runc's state file (state.json) says about a container, as far as a dump needs it. */
import { z } from "zod";
import { DmigrateError, messageOf } from "../../shared/errors.ts";

const stateSchema = z.object({
  config: z.object({
    rootfs: z.string().startsWith("/"),
    mounts: z.array(z.object({ device: z.string(), destination: z.string() })).nullish(),
    mask_paths: z.array(z.string()).nullish(),
    devices: z.array(z.object({ path: z.string() })).nullish(),
  }),
  cgroup_paths: z.record(z.string(), z.string()),
  external_descriptors: z.array(z.string()).nullish(),
});

export interface RuncState {
  rootfs: string;
  /** Mount points of bind mounts and of device nodes, as the container's configuration names them. */
  bindMounts: string[];
  /** Paths that runc has covered: a file by /dev/null, a directory by an empty tmpfs. */
  maskPaths: string[];
  /** The freezer's control group: of version 1 its own, of version 2 the only one. */
  freezerDir?: string;
  /** What stdin, stdout and stderr of the container's first process were, in the words of /proc/PID/fd. */
  descriptors: string[];
}

/** Throws `upstream` when the text is not a state file that we understand. */
export function parseRuncState(text: string): RuncState {
  try {
    const { config, cgroup_paths: cgroups, external_descriptors: descriptors } = stateSchema.parse(JSON.parse(text));
    const binds = (config.mounts ?? []).filter(({ device }) => device === "bind");
    const freezerDir = cgroups["freezer"] ?? cgroups[""];
    return {
      rootfs: config.rootfs,
      bindMounts: [...binds.map(({ destination }) => destination), ...(config.devices ?? []).map(({ path }) => path)],
      maskPaths: config.mask_paths ?? [],
      ...(freezerDir !== undefined && { freezerDir }),
      descriptors: descriptors ?? [],
    };
  } catch (cause) {
    throw new DmigrateError("upstream", `runc's state file has an unknown form: ${messageOf(cause)}`, { cause });
  }
}
