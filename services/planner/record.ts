/** A migration's record at its start, and what is said about it to those who ask for what cannot be. */
import type { RestartPolicy } from "../shared/contracts/common.ts";
import type { CreateMigration, Migration } from "../shared/contracts/planner.ts";
import { DmigrateError } from "../shared/errors.ts";
import { currentTraceId, traceHeaders } from "../shared/telemetry.ts";
import type { MigrationRecord } from "./adapters/migration-table.ts";
import type { Inspection } from "./inspect.ts";

/** What every span of a migration carries at its top. */
export const attributesOf = (id: string, container: string, from: string, to: string): Record<string, string> => ({
  "dmigrate.migration_id": id,
  "dmigrate.container": container,
  "dmigrate.from": from,
  "dmigrate.to": to,
});

/** Every reason at once. */
export function refused({ plan }: Inspection): DmigrateError {
  const text = plan.refusals.map(({ message }) => message).join("; ");
  return new DmigrateError(
    "not-migratable",
    `container ${plan.container} cannot move from ${plan.from} to ${plan.to}: ${text}`,
    {
      reasons: plan.refusals,
    },
  );
}

/** Why a cancel is no longer honoured. */
export function tooLate({ id, phase, from, to, error }: Migration): string {
  if (phase === "failed")
    return `migration ${id} has failed after the container had resumed on node ${to}: ${error?.message ?? ""}`;
  if (phase === "resuming")
    return (
      `migration ${id} is past its commit point: the container may already run on node ${to}; ` +
      `if that node is gone for good, abandon it (dmigrate abandon ${id} --node ${to})`
    );
  return `migration ${id} is ${phase}: the container already runs on node ${to}; migrate it back to ${from} instead`;
}

/** Docker says none by an empty name. */
function restartPolicyOf(hostConfig: Readonly<Record<string, unknown>>): RestartPolicy {
  const { Name, MaximumRetryCount } = (hostConfig["RestartPolicy"] ?? {}) as Partial<RestartPolicy>;
  return { Name: Name === undefined || Name === "" ? "no" : Name, MaximumRetryCount: MaximumRetryCount ?? 0 };
}

/** A migration as it is first written down: planned, checked, and nothing touched yet. */
export function newRecord(
  id: string,
  createdAt: string,
  request: CreateMigration,
  { plan, profile, replaces }: Inspection,
  planMs: number,
): MigrationRecord {
  const traceId = currentTraceId();
  return {
    migration: {
      id,
      container: request.container,
      from: request.from,
      to: request.to,
      mode: request.mode,
      phase: "planning",
      createdAt,
      updatedAt: createdAt,
      ...(traceId !== undefined && { traceId }),
      sourceContainerId: profile.id,
      abandoned: [],
      plan,
      bytesSent: 0,
      pagesTotal: 0,
      pagesFaulted: 0,
      pagesPrefetched: 0,
      pagesZero: 0,
      pagesEqual: 0,
      stages: [{ name: "plan", ms: planMs }],
    },
    job: {
      removeSource: request.removeSource,
      containerName: profile.spec.name,
      ...(replaces !== undefined && { replaces }),
      restartPolicy: restartPolicyOf(profile.spec.hostConfig),
      trace: traceHeaders(),
    },
  };
}
