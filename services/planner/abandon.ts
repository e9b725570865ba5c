/**
 * The operator's word that a node is gone for good: powered off or fenced, never to run this migration's container again. A
 * migration that would wait for the node for ever goes on without it:
 *
 * - `aborting`: nothing more is undone on that node; what is left there is told. The other node's part is undone as ever.
 * - `resuming`, the destination: it is ruled out, and the source thawed. This is the one place where a wrong word runs the
 *   container twice: a destination that is cut off from the planner alone may have resumed it.
 * - `resuming`, the source: the destination decides as ever, unless it was not asked to resume yet; what follows does without the source.
 * - `draining` and `committing`, the destination: the container is lost with it. The migration ends `failed`, nothing more is done to the
 *   source, and the error says what there is to go back to.
 * - `committing`, the source: it is not released, and the migration committed.
 */
import { healthSchema } from "../shared/contracts/common.ts";
import type { Migration } from "../shared/contracts/planner.ts";
import { DmigrateError } from "../shared/errors.ts";
import { roleOf, whyNotAbandon, type Role } from "./core/abandonment.ts";
import type { Peer } from "./peer.ts";
import type { Run } from "./run.ts";

/**
 * The node's part. Throws `invalid-request` for the field `node` when it has none, and `conflict`, with what to do instead,
 * when the migration does not wait for it for ever.
 */
export function roleToAbandon(migration: Migration, node: string): Role {
  const role = roleOf(migration, node);
  if (role === undefined) {
    const message = `node ${node} takes no part in migration ${migration.id}: its nodes are ${migration.from} and ${migration.to}`;
    throw new DmigrateError("invalid-request", `the request is not valid: node: ${message}`, {
      fields: [{ field: "node", message }],
    });
  }
  const why = whyNotAbandon(migration, role);
  if (why !== undefined) throw new DmigrateError("conflict", why);
  return role;
}

/**
 * Resolves once the word is durable, and calls under way to the node have been told to end; said again it changes nothing. Throws as
 * `roleToAbandon`, `conflict` for a node whose agent answers, since that one is not gone, and `unavailable` when the store refuses.
 */
export async function abandon(run: Run, node: string): Promise<Migration> {
  const { journal } = run;
  const peer = run[roleToAbandon(journal.migration, node)];
  if (journal.migration.abandoned.includes(node)) return journal.migration;
  if (await answers(run, peer)) {
    throw new DmigrateError(
      "conflict",
      `node ${node} answers (${peer.agent.url}), so it is not gone, and the migration goes on with it: power it off or fence it first; ` +
        "if another machine has its address now, register the node with that machine's token",
    );
  }
  // The migration has gone on meanwhile.
  roleToAbandon(journal.migration, node);
  if (!journal.migration.abandoned.includes(node)) {
    journal.abandonDurably(
      node,
      `node ${node} is abandoned: by the operator's word it is powered off or fenced, and never runs this container again`,
    );
    peer.abandon();
  }
  return journal.migration;
}

/** A word that is wrong is often a wrong name: the agent of a node that is gone says nothing. */
async function answers({ timing }: Run, { agent }: Peer): Promise<boolean> {
  return agent.get("/healthz", healthSchema, { timeoutMs: timing.callMs }).then(
    () => true,
    () => false,
  );
}
