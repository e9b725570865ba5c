/**
 * The downtime: from the freeze at the source to the resume at the destination. Nothing here waits for what could have
 * been done before or can be done later; the journal is held, so that the only write is the commit point, and that one
 * happens while the images are on their way.
 *
 *     freeze ─┬─ dump, seal ─┬· images ·· serve pages ─┬─ resume ── running
 *             │              └─ COMMIT POINT ──────────┤
 *             ├─ memory (stop-and-copy: all of it) ────┤
 *             └─ file delta ───────────────────────────┘
 *
 * What is dotted goes from service to service without a word of ours: at the freeze the dumper has been told to go on to
 * dump and seal, the shipper to send the images once they are sealed, and the pager to serve once it has them. None of
 * them makes anything run. The one step that does, the resume, is ours alone: it is sent when all of them have answered
 * and the commit point is durable. Until then whatever fails, or is lost, is undone as it always was.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { ContainerProfile } from "../shared/contracts/container.ts";
import { checkpointSchema, type Checkpoint } from "../shared/contracts/dumper.ts";
import { pagerSchema } from "../shared/contracts/pager.ts";
import { restoreSchema, type Restore } from "../shared/contracts/restorer.ts";
import { shippedSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { recordSpan } from "../shared/telemetry.ts";
import { shipSealedLog } from "./ship-log.ts";
import { anything, throwIfCancelled, create, stage, Stopped, together, type Run } from "./run.ts";
import { ruledOutBecause, settleResume } from "./settle-resume.ts";
import { moveTimeoutMs } from "./timing.ts";

/**
 * Resolves once the container runs at the destination (phase `draining`). Throws with the phase before the commit
 * point, or `aborting` when the destination has been ruled out after it: either way the source may be thawed.
 */
export async function freezeAndResume(run: Run, profile: ContainerProfile): Promise<void> {
  const { id, journal, source, clock, timing } = run;
  journal.hold();
  const checkpoint = await stage(run, "freeze", () =>
    create(run, "checkpoint", () =>
      source.dumper.post(`/checkpoints/${id}/freeze`, { thenDump: true }, checkpointSchema, {
        timeoutMs: timing.freezeMs,
      }),
    ),
  );
  const frozenAt = clock.now() - checkpoint.frozenForMs;
  journal.advance("frozen", `the container is frozen on node ${source.name}`);

  const call = { sent: false };
  let restore: Restore | undefined;
  try {
    throwIfCancelled(run);
    await moveState(run, profile, checkpoint);
    restore = await stage(run, "resume", () => resume(run, call));
  } catch (error) {
    if (run.stopped.aborted) throw new Stopped();
    if (journal.migration.phase === "resuming") {
      if (call.sent) restore = await settleResume(run);
      if (restore === undefined) journal.advance("destination-ruled-out", ruledOutBecause(run));
    }
    if (restore === undefined) throw error;
  }
  noteDowntime(run, frozenAt, restore);
}

/** Delta, images, memory, and the commit point: everything that the resume needs. */
async function moveState(run: Run, profile: ContainerProfile, checkpoint: Checkpoint): Promise<void> {
  const { id, journal, source, destination, timing } = run;
  const failed = new AbortController();
  const signal = AbortSignal.any([run.cancelled, run.stopped, failed.signal]);
  // Memory that cannot be lazy (shared, or a tmpfs) is in the images, and the delta is as large as the files at worst.
  const files = profile.writableLayerBytes + profile.volumeBytes;
  const move = { timeoutMs: moveTimeoutMs(timing, profile.memoryBytes + files), signal };
  const sealed = stage(run, "dump", async () => {
    const { state } = await source.dumper.post(`/checkpoints/${id}/dump`, undefined, checkpointSchema, move);
    if (state !== "sealed")
      throw new DmigrateError(
        "upstream",
        `the checkpoint on node ${source.name} is ${state} after its dump, not sealed`,
      );
  });
  const ship = stage(run, "ship", () => {
    const transfer = `/transfers/${id}`;
    const { processes } = checkpoint;
    const announce = journal.migration.plan?.earlyPages === true;
    return together(
      [
        source.shipper.post(`${transfer}/delta`, undefined, shippedSchema, move),
        source.shipper.post(`${transfer}/memory`, { processes, announce }, anything, move),
        source.shipper.post(`${transfer}/images?when=sealed`, undefined, shippedSchema, move),
        shipSealedLog(run, move),
        destination.pager.post(`/pagers/${id}/serve?when=received`, undefined, pagerSchema, move),
        sealed.then(() => commitPoint(run, checkpoint, failed.signal)),
      ],
      failed,
    );
  });
  await together([sealed, ship], failed);
}

/** From here on only `resumed` or the certainty that the destination does not run ends the phase. */
async function commitPoint(run: Run, { restartPolicy }: Checkpoint, failed: AbortSignal): Promise<void> {
  // The synced write blocks this process for about a millisecond: first let the other calls reach the network.
  await delay(2);
  failed.throwIfAborted();
  throwIfCancelled(run);
  const { Name, MaximumRetryCount } = restartPolicy;
  run.journal.advanceDurably("resume-recorded", `resuming on node ${run.destination.name}`, {
    restartPolicy: { Name, MaximumRetryCount },
  });
  run.journal.hold();
}

/** Sets `call.sent` right before the resume call: from then on the container may run, whatever the answer. */
async function resume(run: Run, call: { sent: boolean }): Promise<Restore> {
  const { id, source, destination, timing } = run;
  if (run.journal.migration.mode === "stop-and-copy") await allCached(run);
  // Memory that is still there is lost: what lacks it must not run.
  else source.abandoned.throwIfAborted();
  if (run.stopped.aborted) throw new Stopped();
  call.sent = true;
  const restore = await destination.restorer.post(`/restores/${id}/resume`, undefined, restoreSchema, {
    timeoutMs: timing.resumeMs,
  });
  if (restore.state === "resumed" || restore.state === "finished") return restore;
  const why = restore.error ?? `its state is ${restore.state}`;
  throw new DmigrateError("restore-failed", `the container did not resume on node ${destination.name}: ${why}`);
}

/** Stop-and-copy: waits until the destination has all memory. The source may still be thawed when that fails. */
async function allCached(run: Run): Promise<void> {
  const { id, source, destination, timing, clock } = run;
  const deadline = clock.now() + moveTimeoutMs(timing, run.journal.migration.plan?.expectedBytes ?? 0);
  for (;;) {
    const path = `/pagers/${id}?until=cached&waitMs=${timing.pollMs}`;
    const pager = await destination.pager.get(path, pagerSchema, { timeoutMs: timing.callMs + timing.pollMs });
    if (pager.cached) return;
    source.abandoned.throwIfAborted();
    if (run.stopped.aborted) throw new Stopped();
    if (pager.state === "failed") throw new DmigrateError("transfer-failed", pager.error ?? "the pager gave no reason");
    if (clock.now() > deadline)
      throw new DmigrateError("timeout", `the memory did not reach node ${destination.name} in time`);
  }
}

function noteDowntime(run: Run, frozenAt: number, restore: Restore): void {
  const { journal, clock, destination } = run;
  const downtimeMs = clock.now() - frozenAt;
  const end = clock.epoch();
  recordSpan("downtime", end - downtimeMs, end, {
    "dmigrate.migration_id": run.id,
    "dmigrate.downtime_ms": downtimeMs,
  });
  const message = `running on node ${destination.name} after ${downtimeMs.toFixed(1)} ms of downtime`;
  journal.advance("resumed", message, { downtimeMs, destinationContainerId: restore.containerId });
  journal.release();
}
