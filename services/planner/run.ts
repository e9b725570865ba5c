/** One migration under way: what its parts share, and the ways in which they call, measure and give up. */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { AbortCheckpoint } from "../shared/contracts/dumper.ts";
import type { LinkSecurity } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import type { Journal } from "./journal.ts";
import type { Links } from "./links.ts";
import { NodeAbandoned, type Peer } from "./peer.ts";
import type { Clock, Timing } from "./timing.ts";

/** What a migration creates on the nodes. Only what was attempted is undone, and forgotten then. */
export type Resource = "transfer" | "receive" | "restore" | "pager" | "checkpoint";

export interface Run {
  readonly id: string;
  readonly journal: Journal;
  readonly source: Peer;
  readonly destination: Peer;
  readonly links: Links;
  readonly clock: Clock;
  readonly timing: Timing;
  /** How files go between the nodes. */
  readonly linkSecurity: LinkSecurity;
  /** Aborts when the migration is cancelled; honoured up to the commit point. */
  readonly cancelled: AbortSignal;
  /** Aborts when the planner ends at once: everything is left as it is, for the next start. */
  readonly stopped: AbortSignal;
  /** Aborts when the planner is asked to end: a drain rests, the next start takes it up. */
  readonly resting: AbortSignal;
  /** Clock reading at the request; undefined for a migration taken up again after a restart. */
  readonly startedAt: number | undefined;
  readonly attempted: Set<Resource>;
  /** Attempted, and not known whether the call has arrived: it may still be on its way. */
  readonly uncertain: Set<Resource>;
}

/** The planner is ending: nothing of the migration may be touched any more by this process. */
export class Stopped extends Error {}

/** For the restore's end: a node that was restarted knows the container alone. */
export function restorePath({ id, journal }: Run): string {
  const { destinationContainerId: containerId } = journal.migration;
  return `/restores/${id}${containerId === undefined ? "" : `?containerId=${containerId}`}`;
}

/** For the checkpoint's end: how the container was, for a source that was restarted and does not know it any more. */
export function sourceBefore({ journal: { migration, job } }: Run): AbortCheckpoint {
  const { sourceContainerId: containerId } = migration;
  const { restartPolicy } = job;
  return containerId === undefined || restartPolicy === undefined ? {} : { before: { containerId, restartPolicy } };
}

/** Answers that nobody reads. */
export const anything = z.unknown();

/** Runs one stage: a span, its time, its event. */
export async function stage<T>(run: Run, name: string, work: () => Promise<T>): Promise<T> {
  const began = run.clock.now();
  const result = await withSpan(name, { attributes: { "dmigrate.migration_id": run.id } }, work);
  run.journal.stageEnded(name, run.clock.now() - began);
  return result;
}

/** A call that creates something. It is not interrupted, so that its outcome is known wherever it can be. */
export async function create<T>(run: Run, resource: Resource, call: () => Promise<T>): Promise<T> {
  run.attempted.add(resource);
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof DmigrateError) || ["timeout", "unavailable"].includes(error.code))
      run.uncertain.add(resource);
    throw error;
  }
}

/** Throws when the migration was cancelled, or the planner is ending. */
export function throwIfCancelled(run: Run): void {
  if (run.stopped.aborted) throw new Stopped();
  if (run.cancelled.aborted) throw cancelError(run);
}

/** The error of a cancelled migration: the reason that the cancel gave. */
export function cancelError(run: Run): DmigrateError {
  const reason: unknown = run.cancelled.reason;
  return reason instanceof DmigrateError ? reason : new DmigrateError("cancelled", `migration ${run.id} was cancelled`);
}

/**
 * Promise.all that leaves nothing running behind: a failure aborts `others`, and is thrown once every task has ended.
 * Of several that share `others`, the first counts: the rest failed because they were aborted.
 */
export async function together<T extends readonly Promise<unknown>[]>(
  tasks: T,
  others: AbortController,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.all(tasks.map((task) => task.catch((error: unknown) => others.abort(error))));
  others.signal.throwIfAborted();
  return results as { -readonly [K in keyof T]: Awaited<T[K]> };
}

/** Waits, or until `signal` aborts. */
export async function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** Waits, or until one of `others` aborts; throws `Stopped` when the planner ends meanwhile. */
export async function pause(run: Run, ms: number, ...others: readonly AbortSignal[]): Promise<void> {
  await pauseFor(ms, AbortSignal.any([run.stopped, ...others]));
  if (run.stopped.aborted) throw new Stopped();
}

export interface RetryOptions {
  /** What is being done, for the warning: "thawing the source". */
  doing: string;
  /** Errors that no repetition mends; they are thrown. */
  isFinal?: (error: DmigrateError) => boolean;
  /** When aborted, there is no further attempt: `NodeAbandoned` if that is its reason, else `Stopped`. */
  until?: AbortSignal;
}

/**
 * Repeats `attempt`, a call to `node`, for as long as it takes: a node that is down comes back, or is abandoned. The first
 * failure and every tenth becomes a warning. Throws `Stopped` when the planner ends, `NodeAbandoned` at once when the node
 * is gone for good, and the error when it is final.
 */
export async function insist<T>(
  run: Run,
  { abandoned }: Pick<Peer, "abandoned">,
  attempt: () => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { until } = options;
  const throwIfOver = (): void => {
    if (run.stopped.aborted) throw new Stopped();
    abandoned.throwIfAborted();
    if (until?.aborted === true) throw until.reason instanceof NodeAbandoned ? until.reason : new Stopped();
  };
  for (let n = 0; ; n++) {
    throwIfOver();
    try {
      return await attempt();
    } catch (error) {
      throwIfOver();
      if (error instanceof Stopped) throw error;
      if (error instanceof DmigrateError && options.isFinal?.(error) === true) throw error;
      if (n % 10 === 0) {
        const message = error instanceof Error ? error.message : String(error);
        run.journal.warn(`${options.doing} failed (attempt ${n + 1}), trying again: ${message}`);
      }
    }
    await pause(run, run.timing.retryMs(n), abandoned, ...(until === undefined ? [] : [until]));
  }
}
