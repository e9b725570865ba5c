/**
 * Use case: let the wrapper go, and answer once it is proven that the container was restored. A failure is answered
 * as `restore-failed` only when it is certain that nothing of the container runs here, nor will: the source thaws on
 * that word. When that cannot be made certain the record stays `resuming`, and the answer is another error. Once runc
 * has restored, nothing is a failure any more, since the container's tasks have run: not their end, nor Docker's trouble.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { migrationPaths, restoreSpecDir } from "../shared/node-paths.ts";
import { withSpan } from "../shared/telemetry.ts";
import { clearAway } from "./clear-away.ts";
import { hasRestored, readResult, whenRestored } from "./adapters/gate.ts";
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
  // The journal first: a restarted restorer must know that the container may run.
  advance(deps, session, "let-go");
  const specDir = restoreSpecDir(deps.stateDir, containerId);
  const proven = new AbortController();
  const expedited = record.rcuBefore !== undefined && deps.rcu.on();
  try {
    const restored = whenRestored(specDir, proven.signal);
    restored.catch(() => undefined); // Then Docker's answer has to do.
    gate.release(placeImages(imagesDir, gate.imagesDir, session.networkReady === true));
    await withSpan("runc restore", {}, async () => {
      // The container runs as soon as runc says so; containerd's and Docker's bookkeeping goes on meanwhile.
      const first = Promise.race([restored.then(() => undefined).catch(() => started), started]);
      const outcome = await within(deps.limits.resumeMs, first, "the container was not restored");
      if (outcome?.ok === false) throw new DmigrateError("restore-failed", runtimeFailure(messageOf(outcome.error)));
    });
    prove(specDir);
  } catch (error) {
    if (!hasRestored(specDir))
      await giveUp(deps, session, `the container could not be restored: ${messageOf(error)}`, workDir);
    deps.log.warn({ migrationId, err: error }, "the container was restored, but its start did not end well");
  } finally {
    proven.abort();
    if (expedited && record.rcuBefore !== undefined) deps.rcu.off(record.rcuBefore);
  }
  advance(deps, session, "proven", {
    resumeMs: performance.now() - releasedAt,
    resumedAt: Date.now(),
    error: undefined,
  });
  gate.close();
}

/**
 * Throws unless runc says that it restored. That alone is the proof: what was restored may have ended since, and Docker
 * may be slow or fail to say what it made of it. A container that was started cold leaves no such word.
 */
function prove(specDir: string): void {
  const { status } = readResult(specDir);
  if (status !== 0) throw new DmigrateError("restore-failed", `runc restore ended with ${status ?? "no exit code"}`);
}

/** `message`, with the first error of CRIU's log. */
export async function withCriuError(message: string, workDir: string): Promise<string> {
  const log = await readFile(join(workDir, "restore.log"), "utf8").catch(() => "");
  const criu = firstCriuError(log);
  return criu === undefined ? message : `${message}; CRIU said: ${criu}`;
}

/** Clears away what there is, then throws: `restore-failed` when that worked. Returns when it was restored after all. */
async function giveUp(deps: RestorerDeps, session: Session, message: string, workDir: string): Promise<void> {
  const text = await withCriuError(message, workDir);
  note(deps, session, { error: text });
  if (!(await clearAway(deps, session, text))) return;
  advance(deps, session, "given-up");
  throw new DmigrateError("restore-failed", failure(text));
}

const failure = (why = "it was given up"): string => `${why}. Nothing of the container runs here`;
