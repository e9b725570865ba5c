/**
 * After the resume: the rest of the memory follows, then the source is released. Nothing here leads back. Every step
 * is repeated for as long as it takes, and safe to repeat after a restart of the planner.
 *
 * An abandoned destination has taken the container with it: the migration fails, and a source that was not released yet stays
 * as it is, since it is all that is left. An abandoned source is not released.
 */
import { checkpointSchema } from "../shared/contracts/dumper.ts";
import { pagerSchema, type Pager } from "../shared/contracts/pager.ts";
import { restoredContainerSchema, restoreSchema } from "../shared/contracts/restorer.ts";
import { deletedTransferSchema } from "../shared/contracts/shipper.ts";
import { asDmigrateError, DmigrateError } from "../shared/errors.ts";
import type { LeftoverTable } from "./adapters/leftover-table.ts";
import { destinationLost } from "./destination-lost.ts";
import { leftUnreleased } from "./left-behind.ts";
import { createMeeting } from "./meeting.ts";
import { memoryLost } from "./memory-lost.ts";
import { NodeAbandoned, type Peer } from "./peer.ts";
import { shipLog } from "./ship-log.ts";
import { anything, insist, pause, stage, Stopped, type Run } from "./run.ts";

/** Brings a migration from `draining` or `committing` to `committed`. Throws, with phase `failed`, when it cannot. */
export async function drainAndCommit(run: Run, leftovers: LeftoverTable): Promise<void> {
  const { journal } = run;
  try {
    if (journal.migration.phase === "draining") {
      await stage(run, "drain", () => Promise.all([drain(run), shipLog(run)]));
      journal.advance("drained", `all memory is on node ${run.destination.name}; releasing node ${run.source.name}`);
    }
    await stage(run, "commit", () => commit(run, leftovers));
    journal.advance("committed", `committed: the container runs on node ${run.destination.name} alone`);
  } catch (error) {
    if (error instanceof Stopped || run.stopped.aborted) throw new Stopped();
    const failure =
      error instanceof DmigrateError ? error : new DmigrateError("internal", String(error), { cause: error });
    journal.failed(failure);
    journal.advance("lost", "the migration cannot be completed; its error says what to do");
    throw failure;
  }
}

async function drain(run: Run): Promise<void> {
  const { id, journal, destination, clock, timing } = run;
  const path = `/pagers/${id}?until=drained&waitMs=${timing.pollMs}`;
  const options = { timeoutMs: timing.callMs + timing.pollMs, signal: run.resting };
  const meeting = createMeeting(run);
  for (;;) {
    const asked = clock.now();
    const pager = await insist(run, destination, () => destination.pager.get(path, pagerSchema, options), {
      doing: `following the drain on node ${destination.name}`,
      isFinal: ({ code }) => code === "not-found",
      until: run.resting,
    }).catch(async (error: unknown) => {
      if (error instanceof DmigrateError && error.code === "not-found")
        throw await memoryLost(run, "its pager is gone: was the node restarted?");
      if (error instanceof NodeAbandoned) throw await memoryLost(run, error.message);
      throw error;
    });
    const { pagesTotal, pagesFaulted, pagesPrefetched } = pager;
    const counts = { pagesTotal, pagesFaulted, pagesPrefetched };
    if (pager.state === "drained") {
      journal.update(counts);
      if (pagesFaulted + pagesPrefetched < pagesTotal) await mustNotHaveDied(run);
      meeting.end();
      return;
    }
    if (pager.state === "failed") {
      journal.update(counts);
      if (pager.memoryGone === true) await pauseThere(run);
      throw await memoryLost(run, pager.error ?? "its pager gave no reason");
    }
    journal.progress(drained(pager), counts);
    // What was sent ahead is only confirmed, so that little crosses the link.
    if (journal.migration.plan?.precopy !== true) meeting.look(pager.bytesReceived);
    // A pager that does not wait as it was asked to must not be asked without end.
    if (clock.now() - asked < timing.pollMs / 2) await pause(run, timing.pollMs);
  }
}

/** What may read zeros must not write them into its files, or tell anyone; nor is what it still does of any use. */
async function pauseThere({ id, journal, destination, timing }: Run): Promise<void> {
  try {
    await destination.restorer.post(`/restores/${id}/pause`, undefined, restoreSchema, { timeoutMs: timing.callMs });
    journal.warn(`the container on node ${destination.name} runs no further: the rest of its memory is lost`);
  } catch (error) {
    const { message } = asDmigrateError(error, "internal", "pausing failed");
    journal.warn(`the container on node ${destination.name} could not be paused: ${message}`);
  }
}

/**
 * A process that ends needs no memory any more: a drain is over too when the container has died in the midst of it. Then the
 * source, which is frozen with all of it, is not ended: the operator decides. One that has done its work, or was stopped, is
 * gone as it would be anywhere.
 */
async function mustNotHaveDied(run: Run): Promise<void> {
  const { id, destination, timing } = run;
  const path = `/restores/${id}/container`;
  const options = { timeoutMs: timing.resumeMs };
  const container = await insist(
    run,
    destination,
    () => destination.restorer.get(path, restoredContainerSchema, options),
    {
      doing: `asking node ${destination.name} whether the container still runs`,
      isFinal: ({ code }) => code === "not-found" || code === "conflict",
    },
  ).catch((error: unknown) => {
    if (error instanceof Stopped) throw error;
    // The restore is gone or finished by hand, or its node is gone for good: nothing is known against it.
    return undefined;
  });
  if (container === undefined || container.running || container.stopped) return;
  const { exitCode, oomKilled } = container;
  if (exitCode === 0 && !oomKilled) return;
  const why = oomKilled ? "it was killed for lack of memory" : "it ended by itself";
  throw await memoryLost(run, `${why}, exit code ${exitCode}, before all of its memory was there`);
}

const drained = ({ pagesFaulted, pagesPrefetched, pagesTotal }: Pager): string =>
  `${pagesFaulted + pagesPrefetched} of ${pagesTotal} pages are there`;

async function commit(run: Run, leftovers: LeftoverTable): Promise<void> {
  const { id, journal, source, destination, timing, clock } = run;
  const options = { timeoutMs: timing.moveMs };
  const { removeSource, restartPolicy } = journal.job;
  const release = insist(
    run,
    source,
    () => source.dumper.post(`/checkpoints/${id}/commit`, { removeContainer: removeSource }, checkpointSchema, options),
    {
      doing: `releasing the source on node ${source.name}`,
      isFinal: ({ code }) => code === "not-found" || code === "conflict",
      until: destination.abandoned,
    },
  ).then(
    () => true,
    (error: unknown) => sourceGone(run, error),
  );
  const timed = release.then(() => {
    const totalMs =
      run.startedAt === undefined
        ? clock.epoch() - Date.parse(journal.migration.createdAt)
        : clock.now() - run.startedAt;
    journal.update({ totalMs: Math.max(0, totalMs) });
  });
  const finish = insist(
    run,
    destination,
    () =>
      destination.restorer.post(
        `/restores/${id}/finish`,
        { restartPolicy: restartPolicy ?? noRestart },
        restoreSchema,
        options,
      ),
    {
      doing: `finishing on node ${destination.name}`,
      isFinal: ({ code }) => code === "not-found",
    },
  ).catch((error: unknown) => destinationGone(run, error));
  try {
    // Docker has written the last of the log once the container has ended.
    await Promise.all([timed, finish, cleanUp(run, Promise.all([release, shipLog(run, release)]))]);
  } catch (error) {
    if (run.stopped.aborted || !destination.abandoned.aborted) throw error;
    // One that is under way may still end the source.
    await release.catch(() => undefined);
    throw await destinationLost(run);
  }
  noteLeftovers(run, leftovers, { released: await release });
}

const noRestart = { Name: "no", MaximumRetryCount: 0 };

/**
 * Not found: the source node was restarted, which ended the frozen container; its restart policy is off. Abandoned: it
 * runs nothing of it either. False: it was not released.
 */
function sourceGone(run: Run, error: unknown): false {
  if (error instanceof NodeAbandoned && run.source.abandoned.aborted && !run.destination.abandoned.aborted) {
    run.journal.warn(leftUnreleased(run));
    return false;
  }
  if (!(error instanceof DmigrateError) || error.code !== "not-found") throw error;
  run.journal.warn(
    `node ${run.source.name} no longer knows the checkpoint, so there is nothing left to release; ` +
      "look whether its stopped container should be removed",
  );
  return false;
}

/** Not found: the container was removed at the destination by someone else after it had run there. */
function destinationGone(run: Run, error: unknown): void {
  if (!(error instanceof DmigrateError) || error.code !== "not-found") throw error;
  run.journal.warn(
    `node ${run.destination.name} no longer knows the restore; check the container's restart policy there`,
  );
}

/**
 * What a later migration must know: a source container that was left stopped, or was to be removed and may not have been, and one
 * that is no longer in the way.
 */
function noteLeftovers(
  { journal, source, destination }: Run,
  leftovers: LeftoverTable,
  { released }: { released: boolean },
): void {
  const { containerName: name, replaces, removeSource } = journal.job;
  const containerId = journal.migration.sourceContainerId;
  try {
    if (replaces !== undefined) leftovers.delete(destination.name, name);
    if (!(removeSource && released) && containerId !== undefined)
      leftovers.put({ node: source.name, name, containerId });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    journal.warn(
      `the stopped container on node ${source.name} could not be noted; remove it before migrating back: ${message}`,
    );
  }
}

async function cleanUp(run: Run, allSent: Promise<unknown>): Promise<void> {
  const { id, source, destination, timing } = run;
  const options = { timeoutMs: timing.callMs };
  const gone = (error: unknown): undefined => {
    if (!(error instanceof DmigrateError) || error.code !== "not-found") throw error;
    return undefined;
  };
  const remove = <T>(node: Peer, doing: string, call: () => Promise<T>): Promise<T | undefined> =>
    insist<T | undefined>(run, node, () => call().catch(gone), { doing });
  const unlessAbandoned = (error: unknown): undefined => {
    if (!(error instanceof NodeAbandoned)) throw error;
    return undefined;
  };
  await Promise.all([
    remove(destination, `ending the pager on node ${destination.name}`, () =>
      destination.pager.delete(`/pagers/${id}`, anything, options),
    ),
    allSent.then(() =>
      remove(destination, `ending the receive on node ${destination.name}`, () =>
        destination.shipper.delete(`/receives/${id}`, anything, options),
      ),
    ),
    allSent.then(async () => {
      const ended = await remove(source, `ending the transfer on node ${source.name}`, () =>
        source.shipper.delete(`/transfers/${id}`, deletedTransferSchema, options),
      ).catch(unlessAbandoned);
      // Without the count the migration is no less done.
      if (ended?.sent === undefined) return;
      const { bytesSent, zeroPages: pagesZero, equalPages: pagesEqual } = ended.sent;
      run.journal.update({ bytesSent, pagesZero, pagesEqual });
    }),
  ]);
}
