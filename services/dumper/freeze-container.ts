/**
 * Freezes a running container: on success nothing of it runs, its record says `frozen`, and a guardian stands by. All
 * that can be done beforehand is done beforehand, in a call of its own: the downtime begins with the freeze.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Freezer } from "../shared/adapters/cgroup.ts";
import { findFreezer } from "../shared/adapters/cgroup.ts";
import { readProcess, strangersTo, type ProcessStatus } from "../shared/adapters/processes.ts";
import type { CreateCheckpoint } from "../shared/contracts/dumper.ts";
import { DmigrateError } from "../shared/errors.ts";
import type { MigrationPaths } from "../shared/node-paths.ts";
import { withSpan } from "../shared/telemetry.ts";
import type { Inspected } from "./adapters/engine.ts";
import { startGuardian } from "./adapters/guardian.ts";
import { note, type CheckpointDeps, type HeldCheckpoint } from "./checkpoint.ts";
import { isEnded, nextState } from "./core/checkpoint-record.ts";
import { prepareDump } from "./prepare-dump.ts";

/** How long one attempt to freeze may take, and how long processes of `docker exec` are waited for, all in all. */
const freezeTimeoutMs = 5000;
const strangersTimeoutMs = 5000;
/** How often a freeze in the midst of a fork is tried again; then CRIU may try its luck. */
const forkTries = 50;
/** clone, vfork and clone3; on arm64 clone and clone3. */
const forkCalls: ReadonlySet<string> = new Set(process.arch === "arm64" ? ["220", "435"] : ["56", "58", "435"]);

/** Looks at the container and writes the record; nothing is touched yet. */
export async function holdContainer(
  deps: CheckpointDeps,
  { migrationId, containerId }: CreateCheckpoint,
  paths: MigrationPaths,
): Promise<HeldCheckpoint> {
  const container = await deps.engine.inspect(containerId);
  mustRun(container);
  const initPid = container.State.Pid;
  const freezer = findFreezer(initPid);
  mustBeThawed(freezer, nameOf(container));
  const { Name, MaximumRetryCount } = container.HostConfig.RestartPolicy ?? { Name: "no" };
  const held: HeldCheckpoint = {
    record: {
      migrationId,
      containerId,
      state: "ready",
      freezer: { version: freezer.version, dir: freezer.dir },
      initPid,
      restartPolicy: { Name: Name === "" ? "no" : Name, MaximumRetryCount: MaximumRetryCount ?? 0 },
      processes: [],
      frozenAt: Date.now(),
    },
    name: nameOf(container),
    freezer,
    paths,
  };
  // From this line on a dumper started anew would thaw the container and give its restart policy back.
  note(deps, held, {});
  return held;
}

/** Starts all that waits for the freeze of what holdContainer holds, which runs on. Whatever it throws, the caller must abort. */
export async function readyContainer(deps: CheckpointDeps, held: HeldCheckpoint): Promise<void> {
  const guardian = await startGuardian(held.freezer, deps.log);
  held.guardian = guardian;
  held.prepared = await withSpan("start criu", {}, () => prepareDump(held, guardian.pid));
}

/** Freezes a container that is ready. Again for one that is frozen: nothing. After another failure the caller must abort. */
export async function freezeContainer(deps: CheckpointDeps, held: HeldCheckpoint): Promise<void> {
  const { containerId, restartPolicy, state } = held.record;
  if (state !== "ready" && !isEnded(state)) return;
  const frozen = nextState(held.record, "freeze");
  // It may have been paused since it was looked at: who did that is to undo it.
  mustBeThawed(held.freezer, held.name);
  // Before it is touched: what undoes it goes by the record.
  note(deps, held, { state: frozen, frozenAt: Date.now() });
  if (restartPolicy.Name !== "no") {
    await withSpan("docker update", {}, () =>
      deps.engine.setRestartPolicy(containerId, { Name: "no", MaximumRetryCount: 0 }),
    );
  }
  await withSpan("cgroup freeze", {}, () => freeze(deps, held));
}

function mustRun(container: Inspected): void {
  const { Running, Paused, Restarting } = container.State;
  if (Running && !Paused && !Restarting) return;
  const state = Paused ? "paused" : Restarting ? "restarting" : "not running";
  throw new DmigrateError(
    "conflict",
    `container ${nameOf(container)} is ${state}; only a running container can be moved`,
  );
}

function mustBeThawed(freezer: Freezer, name: string): void {
  if (freezer.state() === "thawed") return;
  throw new DmigrateError("conflict", `container ${name} is frozen by something else; docker unpause it first`);
}

const nameOf = (container: Inspected): string => container.Name.replace(/^\//, "");

/** Freezes at a moment when nobody from outside (`docker exec`, a health check) is in the container. */
async function freeze(deps: CheckpointDeps, held: HeldCheckpoint): Promise<void> {
  const { freezer, record, name } = held;
  const deadline = performance.now() + strangersTimeoutMs;
  let tries = forkTries;
  for (;;) {
    await strangersLeave(freezer, record.initPid, deadline, name);
    const frozenAt = Date.now();
    const started = performance.now();
    await freezer.freeze({ timeoutMs: freezeTimeoutMs });
    const processes = readProcesses(freezer);
    const isUnlucky = tries > 0 && processes.some(({ hostPid }) => isInFork(hostPid));
    tries -= 1;
    if (isUnlucky || strangersTo(record.initPid, processes).length > 0) {
      freezer.thaw();
      continue;
    }
    if (processes.length === 0) throw new DmigrateError("conflict", `container ${name} stopped while it was frozen`);
    note(deps, held, {
      frozenAt,
      freezeMs: performance.now() - started,
      processes: processes.map(({ innerPid, hostPid }) => ({ pid: innerPid, hostPid })),
    });
    return;
  }
}

/**
 * A parent waits in vfork until its child executes something. CRIU stops the child first and then waits for the parent in
 * vain, until its time is up. /proc/PID/syscall begins with the number of the call a process is in.
 */
function isInFork(hostPid: number): boolean {
  try {
    return forkCalls.has(readFileSync(`/proc/${hostPid}/syscall`, "utf8").split(" ")[0] ?? "");
  } catch {
    return false; // It has ended meanwhile, or this kernel does not tell.
  }
}

async function strangersLeave(freezer: Freezer, initPid: number, deadline: number, name: string): Promise<void> {
  for (;;) {
    const strangers = strangersTo(initPid, readProcesses(freezer));
    if (strangers.length === 0) return;
    if (performance.now() > deadline) {
      const pids = strangers.map(({ hostPid }) => hostPid).join(", ");
      throw new DmigrateError(
        "conflict",
        `container ${name} has processes that docker exec or a health check started (host pids ${pids}), which cannot be moved; end them and try again`,
      );
    }
    await sleep(5);
  }
}

/** Zombies are left out: CRIU dumps them, but they have no memory. */
function readProcesses(freezer: Freezer): ProcessStatus[] {
  return freezer
    .processes()
    .map(readProcess)
    .filter((status) => status !== undefined)
    .filter(({ state }) => state !== "Z");
}
