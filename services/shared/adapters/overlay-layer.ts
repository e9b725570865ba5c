/**
 * A container's file system on overlay2: its writable layer, the mount that merges it with the image, and the image's
 * layers. Docker answers no question about a container while it starts it, so the restorer, which waits in just that
 * state, notes the answer beforehand where the shipper finds it.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import { z } from "zod";
import { DmigrateError } from "../errors.ts";
import { restoreSpecDir } from "../node-paths.ts";

const pathSchema = z.string().startsWith("/");
const layerPathsSchema = z.strictObject({ upper: pathSchema, merged: pathSchema, lowers: z.array(pathSchema).min(1) });
export type LayerPaths = z.infer<typeof layerPathsSchema>;

/** Throws `not-migratable` on another storage driver than overlay2. */
export function layerPathsOf({ Id, GraphDriver }: Pick<Docker.ContainerInspectInfo, "Id" | "GraphDriver">): LayerPaths {
  // Docker leaves it out with the containerd image store.
  const driver = GraphDriver as typeof GraphDriver | null | undefined;
  const data = (driver?.Data ?? {}) as Partial<Record<string, string>>;
  const { UpperDir: upper, MergedDir: merged, LowerDir: lower } = data;
  if (driver?.Name !== "overlay2" || !upper || !merged || !lower)
    throw new DmigrateError(
      "not-migratable",
      `container ${Id.slice(0, 12)} is on the storage driver ${driver?.Name ?? "of containerd"}, which shows no writable layer; ` +
        'set "storage-driver": "overlay2" (and no containerd snapshotter) in daemon.json',
    );
  return { upper, merged, lowers: lower.split(":") };
}

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
