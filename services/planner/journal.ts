/**
 * What has happened to one migration, in memory and in the store. Memory is ahead: writing never stops a migration,
 * since undoing matters more than noting, and what could not be written goes along with the next write. The
 * exceptions are the commit point and an abandoned node, which must be durable before they count.
 *
 * While held (from the freeze on), nothing else is written: a synced write costs milliseconds of downtime.
 */
import type { Migration, MigrationEvent, MigrationPhase } from "../shared/contracts/planner.ts";
import { DmigrateError } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import type { Job, MigrationRecord, MigrationTable } from "./adapters/migration-table.ts";
import { transition, type Step } from "./core/phase.ts";
import type { Clock } from "./timing.ts";
import type { Watch } from "./watch.ts";

export interface JournalDeps {
  table: MigrationTable;
  clock: Clock;
  watch: Watch;
  log: Log;
}

export interface Journal {
  readonly migration: Migration;
  readonly job: Job;
  /** Goes to the next phase. Throws `internal` when the state machine does not allow the step. */
  advance(step: Step, message: string, patch?: Partial<Migration>): void;
  /** As `advance`, but throws without having changed anything when the store refuses. Ends a hold. */
  advanceDurably(step: Step, message: string, job?: Partial<Job>): void;
  /** Notes the operator's word that the node is gone for good. Throws without having changed anything when the store refuses. */
  abandonDurably(node: string, message: string): void;
  stageEnded(name: string, ms: number): void;
  progress(message: string, patch: Partial<Migration>): void;
  warn(message: string): void;
  /** Keeps the first error: what follows is its consequence. */
  failed(error: DmigrateError): void;
  update(patch: Partial<Migration>): void;
  /** Nothing but what must be durable is written until the next `advanceDurably` or `release`. */
  hold(): void;
  release(): void;
}

export function createJournal(deps: JournalDeps, record: MigrationRecord): Journal {
  const { table, clock, watch } = deps;
  const { id } = record.migration;
  let { migration, job } = record;
  let pending: MigrationEvent[] = [];
  let seq = table.lastSeq(id);
  let held = false;

  const now = (): string => new Date(clock.epoch()).toISOString();
  const target = (step: Step): MigrationPhase => {
    const phase = transition(migration.phase, step);
    if (phase !== undefined) return phase;
    throw new DmigrateError("internal", `migration ${id} cannot take the step ${step} while ${migration.phase}`);
  };
  const event = (of: Migration, type: MigrationEvent["type"], message: string): MigrationEvent => ({
    seq: ++seq,
    at: of.updatedAt,
    type,
    phase: of.phase,
    message,
    migration: of,
  });
  const note = (type: MigrationEvent["type"], message: string, patch: Partial<Migration> = {}): void => {
    migration = { ...migration, ...patch, updatedAt: now() };
    // As in the store: only the latest progress counts.
    if (type === "progress") pending = pending.filter((earlier) => earlier.type !== "progress");
    pending.push(event(migration, type, message));
    flush();
  };
  const flush = (): void => {
    if (held) return;
    try {
      table.save({ migration, job }, pending);
      pending = [];
    } catch (error) {
      deps.log.error({ err: error, phase: migration.phase }, "could not note what happened; it is tried again");
    }
    watch.wake(id);
  };
  return {
    get migration() {
      return migration;
    },
    get job() {
      return job;
    },
    advance: (step, message, patch = {}) => {
      const phase = target(step);
      deps.log.info({ phase, step }, message);
      note("phase", message, { ...patch, phase });
    },
    advanceDurably: (step, message, jobPatch = {}) => {
      const phase = target(step);
      const nextMigration = { ...migration, phase, updatedAt: now() };
      const nextJob = { ...job, ...jobPatch };
      const events = [...pending, event(nextMigration, "phase", message)];
      table.save({ migration: nextMigration, job: nextJob }, events);
      migration = nextMigration;
      job = nextJob;
      pending = [];
      held = false;
      deps.log.info({ phase, step }, message);
      watch.wake(id);
    },
    abandonDurably: (node, message) => {
      const next = { ...migration, abandoned: [...migration.abandoned, node], updatedAt: now() };
      const events = [...pending, event(next, "warning", message)];
      table.save({ migration: next, job }, events, { synced: true });
      migration = next;
      pending = [];
      deps.log.warn({ phase: migration.phase, node }, message);
      watch.wake(id);
    },
    stageEnded: (name, ms) => {
      note("stage", `${name} took ${ms.toFixed(1)} ms`, { stages: [...migration.stages, { name, ms }] });
    },
    progress: (message, patch) => note("progress", message, patch),
    warn: (message) => {
      deps.log.warn({ phase: migration.phase }, message);
      note("warning", message);
    },
    failed: (error) => {
      if (migration.error !== undefined) return;
      const { code, message, reasons } = error;
      note("error", message, { error: { code, message, ...(reasons.length > 0 && { reasons }) } });
    },
    update: (patch) => {
      migration = { ...migration, ...patch };
    },
    hold: () => {
      held = true;
    },
    release: () => {
      held = false;
      flush();
    },
  };
}
