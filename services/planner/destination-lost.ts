/**
 * The container had moved as a whole, and its node is gone for good before the migration was committed. Nothing is done here: the
 * source, should it still be frozen, is all that is left of the container, and whether that is to run the operator decides.
 */
import { DmigrateError } from "../shared/errors.ts";
import type { Run } from "./run.ts";
import { wayBack } from "./way-back.ts";

/** The error that the migration ends with. Called once no release of the source is under way any more. */
export async function destinationLost(run: Run): Promise<DmigrateError> {
  const { name } = run.destination;
  return new DmigrateError(
    "unavailable",
    `the container ran on node ${name}, which was abandoned: what it has done since the freeze is lost with that node. ${await wayBack(run)}`,
  );
}
