/** Ends the source: its copy runs at the destination, so no line of its own code may run here again. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Freezer } from "../shared/adapters/cgroup.ts";
import { signalProcess } from "../shared/adapters/processes.ts";
import { expedited } from "../shared/adapters/rcu.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import { removeDump } from "./adapters/dump-files.ts";
import { note, type CheckpointDeps, type HeldCheckpoint } from "./checkpoint.ts";
import { nextState } from "./core/checkpoint-record.ts";

const killTimeoutMs = 15_000;
const dockerTimeoutMs = 30_000;

/**
 * Kills the frozen processes, thaws them into their death, and waits until Docker has seen it. The restart policy stays
 * "no", so that no reboot of the node starts the container again. A second call answers as the first.
 */
export async function commitCheckpoint(
  deps: CheckpointDeps,
  held: HeldCheckpoint,
  { removeContainer }: { removeContainer: boolean },
): Promise<void> {
  const { containerId } = held.record;
  if (held.record.state !== "committed") {
    const state = nextState(held.record, "commit");
    const keepNote = (rcuBefore: string | undefined): void => {
      if (rcuBefore !== undefined) note(deps, held, { rcuBefore });
    };
    // Its namespaces, mounts and network are taken down meanwhile, which would wait for RCU again and again.
    await expedited(deps.rcu, keepNote, async () => {
      await withSpan("kill source", {}, () => killFrozen(deps, held));
      await withSpan("docker wait", {}, () => deps.engine.waitStopped(containerId, dockerTimeoutMs));
    });
    held.guardian?.release();
    note(deps, held, { state, endedAt: Date.now() });
    removeDump(held.paths);
  }
  if (removeContainer) await deps.engine.remove(containerId);
}

async function killFrozen({ log }: CheckpointDeps, { freezer, record }: HeldCheckpoint): Promise<void> {
  if (!freezer.exists()) return;
  // Frozen as a rule. If someone thawed it, freezing it first at least ends its running at once.
  if (freezer.state() !== "frozen") {
    log.warn({ migrationId: record.migrationId, freezer: freezer.dir }, "the source was thawed by something else");
    await freezer.freeze({ timeoutMs: 1000 }).catch((error: unknown) => {
      log.warn({ reason: messageOf(error) }, "killing the source without freezing it");
    });
  }
  const deadline = performance.now() + killTimeoutMs;
  while (kill(freezer)) {
    // A killed process leaves the freezer into its death, never back into its own code.
    freezer.thaw();
    if (performance.now() > deadline) {
      throw new DmigrateError(
        "timeout",
        `processes in ${freezer.dir} do not die (state D in ps?); try the commit again`,
      );
    }
    await sleep(1);
  }
}

/** Sends SIGKILL to everything in the group; false when nothing is in it. */
function kill(freezer: Freezer): boolean {
  const pids = freezer.processes();
  for (const pid of pids) signalProcess(pid, "SIGKILL");
  return pids.length > 0;
}
