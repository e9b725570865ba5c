/** Where a container's writable layer and volumes lie on this node, as its Docker says. */
import type Docker from "dockerode";
import { findFreezer, type Freezer } from "../../shared/adapters/cgroup.ts";
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
  volumes: readonly string[],
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
  return { trees, freezer: findFreezer(pid) };
}

export interface LayerPaths {
  upper: string;
  merged: string;
  lowers: string[];
}

export async function findLayer(docker: Docker, containerId: string): Promise<LayerPaths> {
  return (await inspect(docker, containerId)).layer;
}

async function inspect(docker: Docker, containerId: string): Promise<{ layer: LayerPaths; pid: number }> {
  const what = `container ${containerId.slice(0, 12)}`;
  const info = await askDocker(what, docker.getContainer(containerId).inspect());
  // Docker leaves it out with the containerd image store.
  const driver = info.GraphDriver as typeof info.GraphDriver | null | undefined;
  const data = (driver?.Data ?? {}) as Partial<Record<string, string>>;
  const { UpperDir: upper, MergedDir: merged, LowerDir: lower } = data;
  if (driver?.Name !== "overlay2" || !upper || !merged || !lower)
    throw new DmigrateError(
      "not-migratable",
      `${what} is on the storage driver ${driver?.Name ?? "of containerd"}, which shows no writable layer; ` +
        'set "storage-driver": "overlay2" (and no containerd snapshotter) in daemon.json',
    );
  return { layer: { upper, merged, lowers: lower.split(":") }, pid: info.State.Pid };
}

export async function volumePath(docker: Docker, name: string): Promise<string> {
  const { Mountpoint } = await askDocker(`volume ${name}`, docker.getVolume(name).inspect());
  if (!Mountpoint.startsWith("/"))
    throw new DmigrateError("not-migratable", `volume ${name} has no directory on this node`);
  return Mountpoint;
}
