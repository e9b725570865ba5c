/** Use case: an image comes from a registry to this node, if it is the very image that is meant. */
import { DmigrateError } from "../shared/errors.ts";
import type { Engine } from "./adapters/engine.ts";

/** Throws `upstream` when it cannot be pulled, `transfer-failed` when it is another image here; then that is removed. */
export async function pullImage(engine: Engine, imageId: string, ref: string, signal: AbortSignal): Promise<void> {
  if ((await engine.imageId(imageId)) !== undefined) return;
  const before = await engine.imageId(ref);
  if (before === undefined) await engine.pullImage(ref, signal);
  if ((await engine.imageId(imageId)) !== undefined) return;
  if (before === undefined) await engine.removeImage(ref);
  throw new DmigrateError("transfer-failed", `${ref} is another image on this node than ${imageId}`);
}
