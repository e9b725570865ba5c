/**
 * All migrations of this planner: takes requests, keeps one migration per container and a few per node, cancels, goes on without
 * nodes that are gone for good, takes up unfinished ones at the start, and lets them rest at the end.
 */
import { randomBytes } from "node:crypto";
import type { CreateMigration, Migration, Plan } from "../shared/contracts/planner.ts";
import type { LinkSecurity } from "../shared/contracts/shipper.ts";
import { asDmigrateError, DmigrateError, type Refusal } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { contextFrom, withSpan } from "../shared/telemetry.ts";
import { abandon, roleToAbandon } from "./abandon.ts";
import type { MigrationRecord } from "./adapters/migration-table.ts";
import type { NodePool } from "./adapters/node-clients.ts";
import type { Store } from "./adapters/store.ts";
import { findObstacle } from "./core/admission.ts";
import { isCancellable, isTerminal } from "./core/phase.ts";
import { findCrowding, type Needs } from "./core/room.ts";
import { inspect, type Inspection } from "./inspect.ts";
import { createJournal } from "./journal.ts";
import { createLinks } from "./links.ts";
import type { Measurements } from "./measurements.ts";
import { migrate } from "./migrate.ts";
import { createPeer } from "./peer.ts";
import { attributesOf, newRecord, refused, tooLate } from "./record.ts";
import { everything, recover } from "./recover.ts";
import { Stopped, type Resource, type Run } from "./run.ts";
import type { Clock, Timing } from "./timing.ts";
import type { Watch } from "./watch.ts";

export interface MigrationsDeps {
  store: Store;
  pool: NodePool;
  watch: Watch;
  clock: Clock;
  timing: Timing;
  log: Log;
  measurements: Measurements;
  /** Migrations that a node may take part in at once. */
  maxPerNode: number;
  linkSecurity: LinkSecurity;
  pullFrom: readonly string[];
}

export interface Migrations {
  /** Plans, checks and starts. Throws `not-migratable` with every reason, having touched nothing. */
  start(request: CreateMigration): Promise<Migration>;
  /** A dry run: refusals are in the plan. */
  plan(request: CreateMigration): Promise<Plan>;
  get(id: string): Migration;
  list(limit: number): Migration[];
  /** Asks for a roll back. Throws `conflict` from the commit point on. */
  cancel(id: string): Migration;
  /**
   * Goes on without a node that is gone for good, by the operator's word. Throws `invalid-request` for a node that has no
   * part in the migration, `conflict` when nothing waits for the node for ever, or it answers.
   */
  abandon(id: string, node: string): Promise<Migration>;
  /** Ids of unfinished migrations that the node takes part in. */
  using(node: string): string[];
  countActive(): number;
  /** Takes up what a predecessor left. Called once, at the start. */
  recoverAll(): void;
  /** Lets migrations come to a point where they can rest, for a bounded time; then drops them for the next start. */
  stop(): Promise<void>;
}

interface Active {
  run: Run;
  /** Not known of one that was taken up after a restart. */
  needs: Needs | undefined;
  cancel: AbortController;
  ended: Promise<void>;
}

/** Time for migrations that were told to stop at once to notice. */
const droppedMs = 100;

export function createMigrations(deps: MigrationsDeps): Migrations {
  const { store, clock, timing, log, linkSecurity } = deps;
  const active = new Map<string, Active>();
  const stopping = new AbortController();
  const resting = new AbortController();
  const links = createLinks(store.links, clock, log);
  const inspecting = { pool: deps.pool, leftovers: store.leftovers, links, clock, timing, pullFrom: deps.pullFrom };

  const using = (node: string): string[] =>
    [...active.values()]
      .map(({ run }) => run.journal.migration)
      .filter(({ from, to }) => from === node || to === node)
      .map(({ id }) => id);
  /** `inspection`: once the container has been looked at. */
  const obstacle = (request: CreateMigration, inspection?: Inspection): Refusal | undefined => {
    const spec = inspection?.profile.spec;
    const claims = [...active.values()].map(({ needs, run: { journal } }) => ({
      migration: journal.migration,
      name: journal.job.containerName,
      needs,
    }));
    const candidate = { request, containerId: inspection?.profile.id, name: spec?.name };
    const found = findObstacle(claims, candidate, deps.maxPerNode);
    if (found !== undefined || inspection === undefined) return found;
    return findCrowding(claims, { to: request.to, needs: inspection.needs, destination: inspection.resources });
  };
  const refuseIfBusy = (request: CreateMigration, inspection?: Inspection): void => {
    const found = obstacle(request, inspection);
    if (found !== undefined) throw new DmigrateError("conflict", found.message, { reasons: [found] });
  };

  const open = (
    record: MigrationRecord,
    startedAt: number | undefined,
    attempted: readonly Resource[],
    needs?: Needs,
  ): Active => {
    const { migration } = record;
    const cancel = new AbortController();
    const journal = createJournal(
      {
        table: store.migrations,
        clock,
        watch: deps.watch,
        log: log.child({ migrationId: migration.id, traceId: migration.traceId }),
      },
      record,
    );
    const source = createPeer(deps.pool.connect(migration.from));
    const destination = createPeer(deps.pool.connect(migration.to));
    for (const peer of [source, destination]) if (migration.abandoned.includes(peer.name)) peer.abandon();
    const run: Run = {
      id: migration.id,
      journal,
      source,
      destination,
      links,
      clock,
      timing,
      linkSecurity,
      cancelled: cancel.signal,
      stopped: stopping.signal,
      resting: resting.signal,
      startedAt,
      attempted: new Set(attempted),
      // Calls of a planner that has crashed may still arrive.
      uncertain: new Set(attempted),
    };
    return { run, needs, cancel, ended: Promise.resolve() };
  };

  /** Keeps the migration among the active ones until its work has ended; the failure stays on its span. */
  const follow = async (entry: Active, work: () => Promise<void>): Promise<void> => {
    const { id, journal } = entry.run;
    try {
      await work();
    } catch (error) {
      if (error instanceof Stopped) {
        log.warn({ migrationId: id, phase: journal.migration.phase }, "left for the next start of the planner");
        return;
      }
      throw error;
    } finally {
      if (isTerminal(journal.migration.phase)) {
        active.delete(id);
        deps.measurements.ended(journal.migration);
      }
    }
  };

  const start = async (request: CreateMigration): Promise<Migration> => {
    if (resting.signal.aborted) throw new DmigrateError("unavailable", "the planner is stopping");
    const startedAt = clock.now();
    const createdAt = new Date(clock.epoch()).toISOString();
    const id = `m-${randomBytes(8).toString("hex")}`;
    const accepted = Promise.withResolvers<Migration>();
    const attributes = attributesOf(id, request.container, request.from, request.to);
    const ended = withSpan("migration", { attributes }, async (span) => {
      const inspected = await withSpan("plan", { attributes: { "dmigrate.migration_id": id } }, async () => {
        refuseIfBusy(request);
        const inspection = await inspect(inspecting, request);
        const { refusals } = inspection.plan;
        if (refusals.length > 0) throw refused(inspection);
        refuseIfBusy(request, inspection);
        return inspection;
      });
      if (resting.signal.aborted) throw new DmigrateError("unavailable", "the planner is stopping");
      const record = newRecord(id, createdAt, request, inspected, clock.now() - startedAt);
      const entry = open(record, startedAt, [], inspected.needs);
      store.migrations.save(record, []);
      active.set(id, entry);
      entry.ended = ended.then(
        () => undefined,
        () => undefined,
      );
      accepted.resolve(record.migration);
      await follow(entry, () => migrate(entry.run, inspected, store.leftovers));
      const { bytesSent, pagesZero, pagesEqual } = entry.run.journal.migration;
      const pages = { "dmigrate.pages.zero": pagesZero, "dmigrate.pages.equal": pagesEqual };
      span.setAttributes({ "dmigrate.bytes": bytesSent, ...pages });
    });
    ended.catch((error: unknown) =>
      accepted.reject(asDmigrateError(error, "internal", "the migration could not be started")),
    );
    return accepted.promise;
  };

  const takeUp = (record: MigrationRecord): void => {
    const { migration, job } = record;
    const entry = open(record, undefined, everything);
    active.set(migration.id, entry);
    const attributes = attributesOf(migration.id, migration.container, migration.from, migration.to);
    const work = withSpan("recovery", { attributes, parent: contextFrom(job.trace) }, () =>
      follow(entry, () => recover(entry.run, store.leftovers)),
    );
    entry.ended = work.catch((error: unknown) => {
      log.info({ migrationId: migration.id, err: error }, "a migration taken up again did not complete");
    });
  };

  const get = (id: string): Migration => {
    const migration = active.get(id)?.run.journal.migration ?? store.migrations.get(id)?.migration;
    if (migration === undefined)
      throw new DmigrateError("not-found", `there is no migration ${id}; GET /migrations lists those there are`);
    return migration;
  };

  return {
    start,
    plan: async (request) => {
      const inspection = await inspect(inspecting, request);
      const { plan } = inspection;
      const found = obstacle(request, inspection);
      return found === undefined ? plan : { ...plan, refusals: [...plan.refusals, found] };
    },
    get,
    list: (limit) =>
      store.migrations.list(limit).map((stored) => active.get(stored.id)?.run.journal.migration ?? stored),
    cancel: (id) => {
      const entry = active.get(id);
      const migration = get(id);
      if (entry !== undefined && isCancellable(migration.phase)) {
        if (!entry.cancel.signal.aborted) {
          entry.cancel.abort(
            new DmigrateError("cancelled", `migration ${id} was cancelled while it was ${migration.phase}`),
          );
          entry.run.journal.warn("cancel requested");
        }
        return entry.run.journal.migration;
      }
      if (migration.phase === "aborting" || migration.phase === "aborted") return migration;
      throw new DmigrateError("conflict", tooLate(migration));
    },
    abandon: async (id, node) => {
      const migration = get(id);
      roleToAbandon(migration, node);
      const entry = active.get(id);
      if (entry === undefined)
        throw new DmigrateError("internal", `migration ${id} has not ended, and nobody sees to it`);
      return abandon(entry.run, node);
    },
    using,
    countActive: () => active.size,
    recoverAll: () => {
      for (const record of store.migrations.unfinished()) takeUp(record);
    },
    stop: async () => {
      resting.abort();
      for (const { run, cancel } of active.values()) {
        if (run.journal.migration.phase === "preparing") {
          cancel.abort(
            new DmigrateError("cancelled", "the planner was stopped while the migration was preparing; start it again"),
          );
        }
      }
      const ended = Promise.all([...active.values()].map((entry) => entry.ended));
      const timer = setTimeout(() => stopping.abort(), timing.stopMs);
      const dropped = new Promise<void>((resolve) => {
        // A call that is never interrupted may hang for long; what it began is taken up at the next start.
        stopping.signal.addEventListener("abort", () => setTimeout(resolve, droppedMs), { once: true });
      });
      await Promise.race([ended, dropped]);
      clearTimeout(timer);
      stopping.abort();
    },
  };
}
