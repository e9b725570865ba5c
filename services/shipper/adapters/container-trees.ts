/** Where a container's writable layer and volumes lie on this node, as its Docker says. */
import type Docker from "dockerode";
import { findFreezer, type Freezer } from "../../shared/adapters/cgroup.ts";
import { layerPathsOf, type LayerPaths } from "../../shared/adapters/overlay-layer.ts";
import type { TreeName } from "../../shared/core/frames/job-message.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { askDocker } from "./ask-docker.ts";
import { cgroupNames } from "./processes.ts";
import type { SourceTree } from "./snapshot.ts";

export interface NamedTree {
  name: TreeName;
  tree: SourceTree;
}

export interface SourceTrees {
  trees: NamedTree[];
  /** The control group, by which the container's processes are found. */
  freezer: Freezer;
}

/** Throws `not-found`, `conflict` when it does not run, `not-migratable` on another storage driver than overlay2. */
export async function findSourceTrees(
  docker: Docker,
  containerId: string,
  { volumes, binds }: { volumes: readonly string[]; binds: readonly string[] },
): Promise<SourceTrees> {
  const { layer, pid } = await inspect(docker, containerId);
  if (pid <= 0) throw new DmigrateError("conflict", `container ${containerId.slice(0, 12)} does not run`);
  if (!cgroupNames(pid, containerId))
    throw new DmigrateError(
      "upstream",
      `process ${pid} is not in a control group of container ${containerId.slice(0, 12)}`,
    );
  const trees: NamedTree[] = [
    {
      name: { kind: "layer" },
      tree: { path: layer.upper, mergedPath: layer.merged, label: "the writable layer" },
    },
  ];
  for (const name of volumes) {
    const path = await volumePath(docker, name);
    trees.push({ name: { kind: "volume", name }, tree: { path, mergedPath: undefined, label: `volume ${name}` } });
  }
  for (const path of binds) {
    trees.push({ name: { kind: "bind", path }, tree: { path, mergedPath: undefined, label: `bind mount ${path}` } });
  }
  return { trees, freezer: findFreezer(pid) };
}

async function inspect(docker: Docker, containerId: string): Promise<{ layer: LayerPaths; pid: number }> {
  const info = await askDocker(`container ${containerId.slice(0, 12)}`, docker.getContainer(containerId).inspect());
  return { layer: layerPathsOf(info), pid: info.State.Pid };
}

export async function volumePath(docker: Docker, name: string): Promise<string> {
  const { Mountpoint } = await askDocker(`volume ${name}`, docker.getVolume(name).inspect());
  if (!Mountpoint.startsWith("/"))
    throw new DmigrateError("not-migratable", `volume ${name} has no directory on this node`);
  return Mountpoint;
}
