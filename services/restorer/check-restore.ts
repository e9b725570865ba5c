/** Use case: what stands in the way of this container on this node, before anything is touched. */
import type { CheckRestore, RestoreCheck } from "../shared/contracts/restorer.ts";
import { runtimeName } from "../shared/adapters/resources.ts";
import type { Engine } from "./adapters/engine.ts";
import { readNodeFacts } from "./adapters/node-facts.ts";
import { sharedLayers } from "./core/shared-layers.ts";
import { refuse } from "./core/refuse.ts";

export interface CheckOptions {
  /** Of the image, for how many of them are here. */
  imageLayers?: readonly string[];
  /** How old what Docker says of itself may be. */
  mayBeOldMs?: number;
}

export async function checkRestore(
  engine: Engine,
  { container, moveBinds, replaces }: CheckRestore,
  { imageLayers = [], mayBeOldMs = 0 }: CheckOptions = {},
): Promise<RestoreCheck> {
  const [image, facts] = await Promise.all([
    engine.imageId(container.imageId),
    readNodeFacts(engine, container, moveBinds, mayBeOldMs),
  ]);
  const layersPresent =
    image === undefined && imageLayers.length > 0 ? sharedLayers(imageLayers, await engine.imageLayers()) : 0;
  const refusals = refuse(container, replaces, facts, runtimeName);
  return { imagePresent: image !== undefined, layersPresent, refusals };
}
