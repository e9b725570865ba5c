/**
 * Makes certain that a container of ours does not run on this node and will not: the wrapper gives up, runc, CRIU and
 * half-restored tasks are killed, the container is removed. Throws `unavailable` when that could not be made certain.
 * A restore that was let go and has succeeded after all is left alone.
 */
import { readFile, rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { run } from "../shared/adapters/run.ts";
import { restoreSpecDir } from "../shared/node-paths.ts";
import { hasRestored } from "./adapters/gate.ts";
import { within } from "./adapters/engine.ts";
import { killProcessesOf } from "./adapters/processes.ts";
import { note, type RestorerDeps, type Session } from "./session.ts";

/** How long wrapper and runc may take to give up by themselves. */
const politeMs = 1_000;

/** False, with nothing killed, when the container has been restored: its tasks have run. */
export async function clearAway(deps: RestorerDeps, session: Session, reason: string): Promise<boolean> {
  const { gate, started } = session;
  const { cleanUpMs } = deps.limits;
  gate?.stop(reason);
  gate?.close();
  delete session.gate;
  await adoptCreated(deps, session);
  const { containerId, migrationId, state } = session.record;
  if (containerId === undefined) return true;
  const specDir = restoreSpecDir(deps.stateDir, containerId);
  try {
    // runc, told to stop, takes its mounts away with it; killed, it could not.
    if (started !== undefined) await within(politeMs, started, "").catch(() => undefined);
    // Whoever doubted it may have looked before its end.
    if (state === "resuming" && hasRestored(specDir)) return false;
    // The spec directory stays until the container is gone: while it is there the wrapper starts nothing.
    if (!(await killProcessesOf(containerId, cleanUpMs)))
      throw new DmigrateError("timeout", `its processes did not die within ${cleanUpMs} ms`);
    if (started !== undefined) await within(cleanUpMs, started, "docker start did not end");
    await within(cleanUpMs, deps.engine.removeContainer(containerId), "docker rm did not end");
    // Docker may have gone on between the first look and its answer.
    if (!(await killProcessesOf(containerId, cleanUpMs)))
      throw new DmigrateError("timeout", `its processes did not die within ${cleanUpMs} ms`);
  } catch (error) {
    throw new DmigrateError(
      "unavailable",
      `restore ${migrationId}: container ${containerId} could not be cleared away, so it may run here: ${messageOf(error)}`,
      { cause: error },
    );
  }
  await unmountLeftovers(containerId);
  await rm(specDir, { recursive: true, force: true });
  return true;
}

/** A restorer that died while Docker created the container has not noted its id. The name was free before: it is ours. */
async function adoptCreated(deps: RestorerDeps, session: Session): Promise<void> {
  const { containerId, creating, name } = session.record;
  if (containerId !== undefined || creating !== true) return;
  const found = await deps.engine.createdContainer(name);
  if (found !== undefined) note(deps, session, { containerId: found });
}

/** A runc that was killed leaves its bind mount of the container's root. */
async function unmountLeftovers(containerId: string): Promise<void> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  for (const line of table.split("\n")) {
    const mountPoint = line.split(" ")[4] ?? "";
    if (!mountPoint.endsWith(`/${containerId}/criu-root`)) continue;
    await run("umount", ["-l", mountPoint], { timeoutMs: 5_000 });
    // Never recursively: if it is still mounted, the container's files are beneath it.
    for (const dir of [mountPoint, dirname(mountPoint)]) await rmdir(dir).catch(() => undefined);
  }
}
