/** Whether a migration can be ended without one of its nodes, by its phase. Pure. */
import type { Migration } from "../../shared/contracts/planner.ts";

/** A node's part in a migration. */
export type Role = "source" | "destination";

/** The node's part in the migration; undefined for a node that has none. */
export function roleOf({ from, to }: Pick<Migration, "from" | "to">, node: string): Role | undefined {
  if (node === from) return "source";
  return node === to ? "destination" : undefined;
}

/**
 * Why it is not the time to give that node up, and what to do instead; undefined where the migration may wait for it for ever.
 * While `resuming`, the destination's being gone is a decision: the container goes back to the source.
 */
export function whyNotAbandon({ id, phase, from, to }: Migration, role: Role): string | undefined {
  switch (phase) {
    case "planning":
    case "preparing":
    case "freezing":
    case "dumping":
      return (
        `migration ${id} is ${phase}, where it waits for no node for ever: cancel it (dmigrate cancel ${id}), ` +
        `and abandon node ${role === "source" ? from : to} should it then stay in aborting`
      );
    case "draining":
      if (role === "destination") return undefined;
      return (
        `migration ${id} is draining, which ends by itself without node ${from}: node ${to} looks for it for ` +
        `DMIGRATE_RECONNECT_SECONDS, then the migration ends failed and says what is lost; with all memory on node ${to} it is ` +
        `committing, and node ${from} can be abandoned then`
      );
    case "resuming":
    case "committing":
    case "aborting":
      return undefined;
    case "committed":
    case "aborted":
    case "refused":
    case "failed":
      return `migration ${id} has ended (${phase}): it waits for no node any more`;
  }
}
