/** On which file systems of this node the parts of a container would be written, and what is free there. */
import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ContainerSpec } from "../../shared/contracts/container.ts";
import type { Place, Places } from "../../shared/contracts/restorer.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { Engine } from "./engine.ts";

/** Makes nothing: what is not there yet will be on the file system of the first directory above that is. */
export async function readPlaces(
  engine: Pick<Engine, "directories" | "volume">,
  { volumes }: Pick<ContainerSpec, "volumes">,
  moveBinds: readonly string[],
): Promise<Places> {
  const { root, layers } = await engine.directories();
  const volumePath = async (name: string): Promise<string> =>
    (await engine.volume(name))?.path ?? join(root, "volumes", name, "_data");
  const names = [...new Set(volumes.map(({ name }) => name))];
  const [ofLayers, ofLog, ofVolumes, ofBinds] = await Promise.all([
    placeAt(layers),
    placeAt(join(root, "containers")),
    Promise.all(names.map(async (name) => [name, await placeAt(await volumePath(name))] as const)),
    Promise.all(moveBinds.map(async (path) => [path, await placeAt(path)] as const)),
  ]);
  return {
    layers: ofLayers,
    log: ofLog,
    volumes: Object.fromEntries(ofVolumes),
    binds: Object.fromEntries(ofBinds),
  };
}

/** Symbolic links are followed: that is where files would go. */
async function placeAt(path: string): Promise<Place> {
  try {
    const [{ dev }, { bavail, bsize }] = await Promise.all([stat(path), statfs(path)]);
    // Some file systems say that they have no end.
    return { fileSystem: String(dev), path, freeBytes: Math.min(bavail * bsize, Number.MAX_SAFE_INTEGER) };
  } catch (error) {
    if (path === "/" || !hasErrno(error, "ENOENT", "ENOTDIR")) throw error;
    return placeAt(dirname(path));
  }
}
