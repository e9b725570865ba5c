/** Use case: what stands in the way of this container on this node, before anything is touched. */
import type { CheckRestore, RestoreCheck } from "../shared/contracts/restorer.ts";
import { runtimeName } from "../shared/adapters/resources.ts";
import type { Engine } from "./adapters/engine.ts";
import { readNodeFacts } from "./adapters/node-facts.ts";
import { readPlaces } from "./adapters/places.ts";
import { sharedLayers } from "./core/shared-layers.ts";
import { refuse } from "./core/refuse.ts";

export async function checkRestore(
  engine: Engine,
  { container, moveBinds, sharedBinds = [], replaces }: CheckRestore,
  imageLayers: readonly string[] = [],
): Promise<RestoreCheck> {
  const [image, facts, directories] = await Promise.all([
    engine.imageId(container.imageId),
    readNodeFacts(engine, container, { moveBinds, sharedBinds }),
    engine.directories(),
  ]);
  const volumes = container.volumes.map(({ name }) => name);
  const volumePaths = new Map(facts.volumes.map(({ name, path }) => [name, path]));
  const [layersPresent, places] = await Promise.all([
    image === undefined ? layersHere(engine, imageLayers) : [],
    readPlaces({ ...directories, volumes, volumePaths, moveBinds }),
  ]);
  const refusals = refuse(container, replaces, facts, runtimeName);
  return { imagePresent: image !== undefined, layersPresent, refusals, places };
}

/** Docker itself has a layer only upon those that lie below it; containerd has each by itself. */
async function layersHere(engine: Engine, layers: readonly string[]): Promise<string[]> {
  if (layers.length === 0) return [];
  const blobs = await engine.layersInContainerd(layers);
  if (blobs !== undefined) return blobs;
  const shared = sharedLayers(layers, await engine.imageLayers());
  // An archive has one file for layers that are alike (empty ones are): Docker opens it for the one that it lacks.
  const rest = new Set(layers.slice(shared));
  return layers.slice(0, shared).filter((layer) => !rest.has(layer));
}
