/** Which migrations may run side by side: one per container, one per name at a destination, a few per node. Pure. */
import type { CreateMigration, Migration } from "../../shared/contracts/planner.ts";
import type { Refusal } from "../../shared/errors.ts";

export interface Admitted {
  migration: Migration;
  /** The container's name, also when it was asked for by its id. */
  name: string;
}

export interface Candidate {
  request: Pick<CreateMigration, "container" | "from" | "to">;
  /** Known once the container has been looked at. */
  containerId: string | undefined;
  name: string | undefined;
}

export function findObstacle(
  active: readonly Admitted[],
  { request, containerId, name }: Candidate,
  maxPerNode: number,
): Refusal | undefined {
  for (const { migration, name: activeName } of active) {
    const { id, phase, from, to, container, sourceContainerId } = migration;
    const names = [container, activeName, sourceContainerId].filter((known) => known !== undefined);
    const same = from === request.from && names.some((known) => known === request.container || known === containerId);
    const sameName = to === request.to && activeName === name;
    if (same || sameName)
      return { code: "under-way", message: `migration ${id} of container ${container} is ${phase}` };
  }
  for (const node of new Set([request.from, request.to])) {
    const count = active.filter(({ migration: { from, to } }) => from === node || to === node).length;
    if (count < maxPerNode) continue;
    const message = `node ${node} takes part in ${count} migrations, as many as it may; try again when one has ended`;
    return { code: "node-busy", message };
  }
  return undefined;
}
