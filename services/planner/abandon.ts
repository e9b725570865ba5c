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
import { DmigrateError, hasErrno } from "../shared/errors.ts";
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
  const role = roleToAbandon(journal.migration, node);
  const { phase, abandoned } = journal.migration;
  if (abandoned.includes(node)) return journal.migration;
  // Then the container may run there already, and the source is thawed on the word that it does not.
  const isStrict = phase === "resuming" && role === "destination";
  const sign = await signOfLife(run[role], { timeoutMs: run.timing.callMs, isStrict });
  if (sign !== undefined) {
    throw new DmigrateError(
      "conflict",
      `node ${node} ${sign}, so it is not gone, and the migration goes on with it: power it off or fence it first; ` +
        "if another machine has its address now, register the node with that machine's token",
    );
  }
  // What the word was given for is over: it means another thing now.
  if (journal.migration.phase !== phase) {
    const message = `migration ${journal.migration.id} has gone on from ${phase} to ${journal.migration.phase} meanwhile: look at it, and say it again if need be`;
    throw new DmigrateError("conflict", message);
  }
  if (!journal.migration.abandoned.includes(node)) {
    journal.abandonDurably(
      node,
      `node ${node} is abandoned: by the operator's word it is powered off or fenced, and never runs this container again`,
    );
    run[role].abandon();
  }
  return journal.migration;
}

/**
 * What a node that is gone would not do, as the end of a sentence: a word that is wrong is often a wrong name. `isStrict`: a
 * machine that refuses the connection counts as alive too; its agent is being started anew, perhaps, and its containers run.
 */
async function signOfLife(
  { agent, dumper, shipper, pager, restorer }: Peer,
  { timeoutMs, isStrict }: { timeoutMs: number; isStrict: boolean },
): Promise<string | undefined> {
  const clients = new Map([agent, dumper, shipper, pager, restorer].map((client) => [client.url, client]));
  const signs = await Promise.all(
    [...clients.values()].map((client) =>
      client.get("/healthz", healthSchema, { timeoutMs }).then(
        () => `answers (${client.url})`,
        (error: unknown) =>
          isStrict && error instanceof Error && hasErrno(error.cause, "ECONNREFUSED")
            ? `refuses connections (${client.url}): its agent does not run, but the machine does`
            : undefined,
      ),
    ),
  );
  return signs.find((sign) => sign !== undefined);
}
