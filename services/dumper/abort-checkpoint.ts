/** Lets the container run on at the source, as if nothing had happened. */
import type { RestartPolicy } from "../shared/contracts/common.ts";
import type { AbortCheckpoint } from "../shared/contracts/dumper.ts";
import { isRestarted } from "../shared/core/restart-policy.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { withSpan } from "../shared/telemetry.ts";
import { endLeftoverCriu } from "./adapters/criu.ts";
import { removeDump } from "./adapters/dump-files.ts";
import { endTcpRepair } from "./adapters/tcp-repair.ts";
import { note, type CheckpointDeps, type HeldCheckpoint } from "./checkpoint.ts";
import { nextState } from "./core/checkpoint-record.ts";

export interface AbortOptions {
  /** The dump failed: its log is kept. */
  failed?: boolean;
}

/**
 * Ends CRIU, thaws the container and gives its restart policy back, if the freeze had begun. Again for an aborted one: nothing. Throws when
 * Docker does not answer; the container is thawed by then, and a further call goes on where this one ended.
 */
export async function abortCheckpoint(
  deps: CheckpointDeps,
  held: HeldCheckpoint,
  { failed = false }: AbortOptions = {},
): Promise<void> {
  if (held.record.state === "aborted") return;
  const state = nextState(held.record, "abort");
  // Until then nothing of it was touched, and what is frozen somebody else has frozen.
  const isTouched = held.record.state !== "ready";
  await withSpan("thaw source", {}, async () => {
    // First CRIU, since its last act is to freeze the group again; with it the lock of the network.
    await (held.prepared === undefined ? endLeftoverCriu(held.paths) : held.prepared.end());
    // CRIU killed in the midst of a dump leaves connections in repair mode; ended in good order it does not.
    if (held.record.state === "dumping") endTcpRepair(held.freezer.processes());
    if (isTouched) held.freezer.thaw();
    held.guardian?.release();
    if (isTouched) await giveRestartPolicyBack(deps, held);
  });
  note(deps, held, { state, endedAt: Date.now() });
  removeDump(held.paths, failed ? { keepLog: deps.records.logOf(held.record.migrationId) } : {});
}

async function giveRestartPolicyBack({ engine, log }: CheckpointDeps, { record }: HeldCheckpoint): Promise<void> {
  const { containerId, restartPolicy, migrationId, frozenAt } = record;
  await unlessRemoved(log, migrationId, containerId, async () => {
    if (restartPolicy.Name !== "no") await engine.setRestartPolicy(containerId, restartPolicy);
    await startIfRestarted({ engine, log }, { migrationId, containerId, restartPolicy, since: frozenAt });
  });
}

/**
 * The same for a migration that this node knows nothing of: it never came to a checkpoint here, or the node was restarted
 * during the freeze, which has ended the container. Which it was the restart policy tells: we had taken it off.
 */
export async function putBack(
  { engine, log }: Pick<CheckpointDeps, "engine" | "log">,
  migrationId: string,
  { containerId, restartPolicy }: NonNullable<AbortCheckpoint["before"]>,
): Promise<void> {
  if (restartPolicy.Name === "no") return;
  await unlessRemoved(log, migrationId, containerId, async () => {
    const { HostConfig } = await engine.inspect(containerId);
    if (!["", "no"].includes(HostConfig.RestartPolicy?.Name ?? "no")) return;
    log.warn({ migrationId, containerId }, "giving a container its restart policy back whose node was restarted");
    // The policy last: it is what tells the next attempt that all is done.
    await startIfRestarted({ engine, log }, { migrationId, containerId, restartPolicy, since: undefined });
    await engine.setRestartPolicy(containerId, restartPolicy);
  });
}

/**
 * While its restart policy was off it may have ended, with Docker or by itself. `since`: when somebody may have stopped it on
 * purpose. A start that fails, as where its port is taken by now, is told and nothing else: no repetition mends it.
 */
async function startIfRestarted(
  { engine, log }: Pick<CheckpointDeps, "engine" | "log">,
  ended: { migrationId: string; containerId: string; restartPolicy: RestartPolicy; since: number | undefined },
): Promise<void> {
  const { migrationId, containerId, restartPolicy, since } = ended;
  const { State } = await engine.inspect(containerId);
  if (State.Running) return;
  const isWanted = since === undefined || !(await engine.wasStopped(containerId, since));
  const start = isRestarted(restartPolicy, State.ExitCode) && isWanted;
  log.error({ migrationId, containerId, status: State.Status, start }, "the container has stopped meanwhile");
  if (!start) return;
  try {
    await engine.start(containerId);
  } catch (error) {
    if (error instanceof DmigrateError && error.code === "unavailable") throw error;
    log.error({ migrationId, containerId, reason: messageOf(error) }, "the container could not be started again");
  }
}

async function unlessRemoved(
  log: Log,
  migrationId: string,
  containerId: string,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    // Nobody can start it again once it is removed.
    if (!(error instanceof DmigrateError && error.code === "not-found")) throw error;
    log.warn({ migrationId, containerId, reason: messageOf(error) }, "the container was removed meanwhile");
  }
}
