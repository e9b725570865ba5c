/**
 * Use case: let the wrapper go, and answer once it is proven that the container runs restored. A failure is answered
 * as `restore-failed` only when it is certain that nothing of the container runs here, nor will: the source thaws on
 * that word. When that cannot be made certain the record stays `resuming`, and the answer is another error.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { migrationPaths, restoreSpecDir } from "../shared/node-paths.ts";
import { withSpan } from "../shared/telemetry.ts";
import { clearAway } from "./clear-away.ts";
import { readResult } from "./adapters/gate.ts";
import { placeImages } from "./adapters/images.ts";
import { within } from "./adapters/engine.ts";
import { firstCriuError, runtimeFailure } from "./core/failure-text.ts";
import { advance, note, type RestorerDeps, type Session } from "./session.ts";

export async function resumeRestore(deps: RestorerDeps, session: Session): Promise<void> {
  const { gate, started, record } = session;
  // A repeated call is answered as the first was.
  if (record.state === "failed") throw new DmigrateError("restore-failed", failure(record.error));
  if (gate === undefined || started === undefined || record.containerId === undefined)
    throw new DmigrateError("conflict", `restore ${record.migrationId} no longer waits: roll it back`);
  const { containerId, migrationId } = record;
  const { imagesDir, workDir } = migrationPaths(deps.stateDir, migrationId);
  const releasedAt = performance.now();
  const releasedWallMs = Date.now();
  // The journal first: a restarted restorer must know that the container may run.
  advance(deps, session, "let-go");
  const expedited = record.rcuBefore !== undefined && deps.rcu.on();
  try {
    gate.release(placeImages(imagesDir, gate.imagesDir, session.networkReady === true));
    await withSpan("docker start, released", {}, async () => {
      const outcome = await within(deps.limits.resumeMs, started, "the container was not restored");
      if (!outcome.ok) throw new DmigrateError("restore-failed", runtimeFailure(messageOf(outcome.error)));
    });
    await prove(deps, containerId, join(workDir, "stats-restore"), releasedWallMs);
  } catch (error) {
    await giveUp(deps, session, `the container could not be restored: ${messageOf(error)}`, workDir);
  } finally {
    if (expedited && record.rcuBefore !== undefined) deps.rcu.off(record.rcuBefore);
  }
  advance(deps, session, "proven", { resumeMs: performance.now() - releasedAt });
  gate.close();
}

/** Throws unless runc and CRIU say that they restored, since the release, and the task that they made is there. */
export async function prove(
  deps: RestorerDeps,
  containerId: string,
  statsFile: string,
  notBeforeWallMs: number,
): Promise<void> {
  const { status, pid } = readResult(restoreSpecDir(deps.stateDir, containerId));
  const [container, stats] = await Promise.all([
    deps.engine.container(containerId),
    stat(statsFile).catch(() => undefined),
  ]);
  const doubts = [
    ...(status === 0 ? [] : [`runc restore ended with ${status ?? "no exit code"}`]),
    ...(container?.running === true ? [] : ["Docker says that it does not run"]),
    ...(container !== undefined && container.pid === pid ? [] : ["its first process is not the one that was restored"]),
    // Clocks of files are coarser than ours by up to a tick.
    ...(stats !== undefined && stats.mtimeMs >= notBeforeWallMs - 50 ? [] : ["CRIU left no statistics of a restore"]),
  ];
  if (doubts.length > 0) throw new DmigrateError("restore-failed", doubts.join("; "));
}

/** `message`, with the first error of CRIU's log. */
export async function withCriuError(message: string, workDir: string): Promise<string> {
  const log = await readFile(join(workDir, "restore.log"), "utf8").catch(() => "");
  const criu = firstCriuError(log);
  return criu === undefined ? message : `${message}; CRIU said: ${criu}`;
}

/** Clears away what there is, then throws: `restore-failed` when that worked. */
async function giveUp(deps: RestorerDeps, session: Session, message: string, workDir: string): Promise<never> {
  const text = await withCriuError(message, workDir);
  note(deps, session, { error: text });
  await clearAway(deps, session, text);
  advance(deps, session, "given-up");
  throw new DmigrateError("restore-failed", failure(text));
}

const failure = (why = "it was given up"): string => `${why}. Nothing of the container runs here`;
