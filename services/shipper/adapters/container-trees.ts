/** Where a container's writable layer and volumes lie on this node, as its Docker says. */
import type Docker from "dockerode";
import { findFreezer, type Freezer } from "../../shared/adapters/cgroup.ts";
import { requireLayer } from "../../shared/adapters/overlay-layer.ts";
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

/** Throws `not-found`, `conflict` when it does not run, `not-migratable` when its files are on no overlay. */
export async function findSourceTrees(
  docker: Docker,
  containerId: string,
  { volumes, binds }: { volumes: readonly string[]; binds: readonly string[] },
): Promise<SourceTrees> {
  const info = await askDocker(`container ${containerId.slice(0, 12)}`, docker.getContainer(containerId).inspect());
  const pid = info.State.Pid;
  if (pid <= 0) throw new DmigrateError("conflict", `container ${containerId.slice(0, 12)} does not run`);
  if (!cgroupNames(pid, containerId))
    throw new DmigrateError(
      "upstream",
      `process ${pid} is not in a control group of container ${containerId.slice(0, 12)}`,
    );
  const layer = await requireLayer(info);
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

export async function volumePath(docker: Docker, name: string): Promise<string> {
  const { Mountpoint } = await askDocker(`volume ${name}`, docker.getVolume(name).inspect());
  if (!Mountpoint.startsWith("/"))
    throw new DmigrateError("not-migratable", `volume ${name} has no directory on this node`);
  return Mountpoint;
}
