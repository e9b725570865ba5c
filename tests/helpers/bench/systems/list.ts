/** All systems, peers first. */
import { criuLazy, criuStopCopy } from "./criu.ts";
import { dmigrateSystems } from "./dmigrate.ts";
import { docker } from "./docker.ts";
import { podman } from "./podman.ts";
import type { System } from "./system.ts";

export const systems: readonly System[] = [
  docker,
  podman("podman", "none"),
  podman("podman-zstd", "zstd"),
  criuStopCopy,
  criuLazy,
  ...dmigrateSystems,
];
