/** On which file systems of this node the parts of a container would be written, and what is free there. */
import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Place, Places } from "../../shared/contracts/restorer.ts";
import { hasErrno } from "../../shared/errors.ts";

export interface PlacesOptions {
  /** Docker's own directory, and where it keeps layers. */
  root: string;
  layers: string;
  /** Names of volumes; and the paths of those that are here. */
  volumes: readonly string[];
  volumePaths: ReadonlyMap<string, string>;
  /** Sources of the bind mounts that come along. */
  moveBinds: readonly string[];
}

/** Makes nothing: what is not there yet will be on the file system of the first directory above that is. */
export async function readPlaces({ root, layers, volumes, volumePaths, moveBinds }: PlacesOptions): Promise<Places> {
  const volumePath = (name: string): string => volumePaths.get(name) ?? join(root, "volumes", name, "_data");
  const [ofLayers, ofLog, ofVolumes, ofBinds] = await Promise.all([
    placeAt(layers),
    placeAt(join(root, "containers")),
    Promise.all([...new Set(volumes)].map(async (name) => [name, await placeAt(volumePath(name))] as const)),
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
