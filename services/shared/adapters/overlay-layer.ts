/**
 * A container's file system on an overlay: its writable layer, the mount that merges it with the image, and the image's
 * layers. With its storage driver overlay2 Docker tells them; with the containerd image store the mount has to. Docker answers no question about a container while it starts it, so the restorer, which waits in just that
 * state, notes the answer beforehand where the shipper finds it.
 */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import { z } from "zod";
import { overlayDirectories, parseMountinfo, type Mount } from "../core/mountinfo.ts";
import { DmigrateError } from "../errors.ts";
import { restoreSpecDir } from "../node-paths.ts";

const pathSchema = z.string().startsWith("/");
const layerPathsSchema = z.strictObject({ upper: pathSchema, merged: pathSchema, lowers: z.array(pathSchema).min(1) });
export type LayerPaths = z.infer<typeof layerPathsSchema>;

type Inspected = Pick<Docker.ContainerInspectInfo, "Id" | "GraphDriver" | "State">;

/** As Docker itself says; undefined with the containerd image store, where it says nothing. */
export function shownLayer({ GraphDriver }: Pick<Inspected, "GraphDriver">): LayerPaths | undefined {
  const driver = GraphDriver as typeof GraphDriver | null | undefined;
  const data = (driver?.Data ?? {}) as Partial<Record<string, string>>;
  const { UpperDir: upper, MergedDir: merged, LowerDir: lower } = data;
  if (driver?.Name !== "overlay2" || !upper || !merged || !lower) return undefined;
  return { upper, merged, lowers: lower.split(":") };
}

/**
 * The layer of a container that runs: as Docker says, or else by the mount that its processes have for their root. Undefined
 * when that is no overlay, or not mounted where this process sees it.
 */
export async function findLayer(container: Inspected): Promise<LayerPaths | undefined> {
  const shown = shownLayer(container);
  if (shown !== undefined || container.State.Pid <= 0) return shown;
  const root = (await mountsOf(container.State.Pid)).findLast(({ mountPoint }) => mountPoint === "/");
  const upper = root && overlayDirectories(root)?.upper;
  if (upper === undefined) return undefined;
  const own = (await mountsOf("self")).find((mount) => overlayDirectories(mount)?.upper === upper);
  const layer = own && layerOf(own);
  // What a process shows is text that a container may have a say in: the device is the kernel's.
  const isItsRoot = layer && (await deviceOf(`/proc/${container.State.Pid}/root/`)) === (await deviceOf(layer.merged));
  return isItsRoot === true ? layer : undefined;
}

const deviceOf = async (path: string): Promise<bigint> => (await stat(path, { bigint: true })).dev;

/** The same; throws `not-migratable` where it is undefined. */
export async function requireLayer(container: Inspected): Promise<LayerPaths> {
  const layer = await findLayer(container);
  if (layer !== undefined) return layer;
  throw new DmigrateError(
    "not-migratable",
    `container ${container.Id.slice(0, 12)} is not on an overlay that this node shows; use the storage driver overlay2, or ` +
      "the containerd image store with the snapshotter overlayfs",
  );
}

/** The layer that is mounted at `mountPoint` on this node. Throws `not-migratable` when there is none. */
export async function layerAt(mountPoint: string): Promise<LayerPaths> {
  // What was mounted last there is what is seen.
  const mount = (await mountsOf("self")).findLast((each) => each.mountPoint === mountPoint);
  const layer = mount && layerOf(mount);
  if (layer !== undefined) return layer;
  throw new DmigrateError(
    "not-migratable",
    `no overlay is mounted at ${mountPoint}; use the storage driver overlay2, or the containerd image store with the ` +
      "snapshotter overlayfs, and run the agent where Docker's mounts are seen",
  );
}

function layerOf(mount: Mount): LayerPaths | undefined {
  const directories = overlayDirectories(mount);
  return directories && { ...directories, merged: mount.mountPoint };
}

const mountsOf = async (pid: number | "self"): Promise<Mount[]> =>
  parseMountinfo(await readFile(`/proc/${pid}/mountinfo`, "utf8"));

const fileOf = (specDir: string): string => join(specDir, "layer.json");

/** Notes the paths of a container that is about to be started. */
export async function noteLayer(stateDir: string, containerId: string, paths: LayerPaths): Promise<void> {
  await writeFile(fileOf(restoreSpecDir(stateDir, containerId)), JSON.stringify(paths), { mode: 0o600 });
}

/** The paths of a container that waits to be restored. Throws `not-found` when the restorer has noted none. */
export async function readNotedLayer(stateDir: string, containerId: string): Promise<LayerPaths> {
  const what = `container ${containerId.slice(0, 12)}`;
  try {
    return layerPathsSchema.parse(JSON.parse(await readFile(fileOf(restoreSpecDir(stateDir, containerId)), "utf8")));
  } catch (cause) {
    throw new DmigrateError("not-found", `${what} does not wait for a restore on this node`, { cause });
  }
}
