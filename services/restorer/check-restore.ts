/** Use case: what stands in the way of this container on this node, before anything is touched. */
import type { CheckRestore, RestoreCheck } from "../shared/contracts/restorer.ts";
import { runtimeName } from "../shared/adapters/resources.ts";
import type { Engine } from "./adapters/engine.ts";
import { readNodeFacts } from "./adapters/node-facts.ts";
import { sharedLayers } from "./core/shared-layers.ts";
import { refuse } from "./core/refuse.ts";

export async function checkRestore(
  engine: Engine,
  { container, moveBinds, sharedBinds = [], replaces }: CheckRestore,
  imageLayers: readonly string[] = [],
): Promise<RestoreCheck> {
  const [image, facts] = await Promise.all([
    engine.imageId(container.imageId),
    readNodeFacts(engine, container, { moveBinds, sharedBinds }),
  ]);
  const layersPresent =
    image === undefined && imageLayers.length > 0 ? sharedLayers(imageLayers, await engine.imageLayers()) : 0;
  const refusals = refuse(container, replaces, facts, runtimeName);
  return { imagePresent: image !== undefined, layersPresent, refusals };
}
