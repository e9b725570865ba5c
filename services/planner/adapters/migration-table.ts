/** Migrations and their events. A record and the events that go with it are written in one transaction. */
import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { containerIdSchema } from "../../shared/contracts/common.ts";
import {
  migrationEventSchema,
  migrationSchema,
  type Migration,
  type MigrationEvent,
} from "../../shared/contracts/planner.ts";
import { finishRestoreSchema } from "../../shared/contracts/restorer.ts";
import { isTerminal } from "../core/phase.ts";
import type { Guard } from "./store.ts";

/** What the planner must know of a migration beyond what it shows, to end it after a restart. */
const jobSchema = z.object({
  removeSource: z.boolean(),
  containerName: z.string(),
  /** The leftover at the destination that this migration moves out of the way. */
  replaces: containerIdSchema.optional(),
  /** As it was seen beforehand; from the commit point on, as it was at the freeze. */
  restartPolicy: finishRestoreSchema.shape.restartPolicy.optional(),
  /** W3C trace context of the migration's span. */
  trace: z.record(z.string(), z.string()),
});
export type Job = z.infer<typeof jobSchema>;

const recordSchema = z.object({ migration: migrationSchema, job: jobSchema });
export type MigrationRecord = z.infer<typeof recordSchema>;

export interface MigrationTable {
  /**
   * Writes the record, and adds the events to those of the migration. A new record and a new phase are synced to the disk; what
   * is only told survives the end of the planner, but may be lost with its machine, unless it is to be `synced`.
   */
  save(record: MigrationRecord, events: readonly MigrationEvent[], options?: { synced?: boolean }): void;
  get(id: string): MigrationRecord | undefined;
  /** Newest first. */
  list(limit: number): Migration[];
  /** Oldest first. */
  unfinished(): MigrationRecord[];
  events(id: string, afterSeq: number, limit: number): MigrationEvent[];
  lastSeq(id: string): number;
}

/** Finished migrations are kept up to this many; the oldest go first. */
const keepFinished = 1000;

export function createMigrationTable(db: DatabaseSync, guard: Guard): MigrationTable {
  const upsert = db.prepare(
    `INSERT INTO migrations (id, serial, finished, record)
     VALUES (?, (SELECT coalesce(max(serial), 0) + 1 FROM migrations), ?, ?)
     ON CONFLICT (id) DO UPDATE SET finished = excluded.finished, record = excluded.record`,
  );
  const prune = db.prepare(
    `DELETE FROM migrations WHERE finished = 1 AND serial <=
     (SELECT serial FROM migrations WHERE finished = 1 ORDER BY serial DESC LIMIT 1 OFFSET ${keepFinished})`,
  );
  const one = db.prepare("SELECT record FROM migrations WHERE id = ?");
  const newest = db.prepare("SELECT record FROM migrations ORDER BY serial DESC LIMIT ?");
  const open = db.prepare("SELECT record FROM migrations WHERE finished = 0 ORDER BY serial");
  const addEvent = db.prepare("INSERT INTO events (migration, seq, type, record) VALUES (?, ?, ?, ?)");
  // Of progress only the latest counts; a long drain would fill the disk with the others.
  const dropProgress = db.prepare("DELETE FROM events WHERE migration = ? AND type = 'progress' AND seq < ?");
  const eventsAfter = db.prepare("SELECT record FROM events WHERE migration = ? AND seq > ? ORDER BY seq LIMIT ?");
  const last = db.prepare("SELECT coalesce(max(seq), 0) AS seq FROM events WHERE migration = ?");

  const write = ({ migration, job }: MigrationRecord, events: readonly MigrationEvent[]): void => {
    const finished = isTerminal(migration.phase);
    upsert.run(migration.id, finished ? 1 : 0, JSON.stringify({ migration, job }));
    for (const event of events) {
      addEvent.run(migration.id, event.seq, event.type, JSON.stringify(event));
      if (event.type === "progress") dropProgress.run(migration.id, event.seq);
    }
    if (finished) prune.run();
  };
  return {
    save: (record, events, { synced = false } = {}) =>
      guard("writing a migration", () => {
        const isTold = !synced && events.length > 0 && events.every(({ type }) => type !== "phase");
        db.exec(`PRAGMA synchronous = ${isTold ? "NORMAL" : "FULL"}`);
        db.exec("BEGIN IMMEDIATE");
        try {
          write(record, events);
          db.exec("COMMIT");
        } catch (error) {
          if (db.isTransaction) db.exec("ROLLBACK");
          throw error;
        } finally {
          db.exec("PRAGMA synchronous = FULL");
        }
      }),
    get: (id) =>
      guard("reading a migration", () => {
        const row = one.get(id);
        return row === undefined ? undefined : readRecord(row);
      }),
    list: (limit) => guard("listing migrations", () => newest.all(limit).map((row) => readRecord(row).migration)),
    unfinished: () => guard("listing migrations", () => open.all().map(readRecord)),
    events: (id, afterSeq, limit) =>
      guard("reading events", () =>
        eventsAfter
          .all(id, afterSeq, limit)
          .map((row) => migrationEventSchema.parse(JSON.parse(String(row["record"])))),
      ),
    lastSeq: (id) => guard("reading events", () => Number(last.get(id)?.["seq"])),
  };
}

const readRecord = (row: Record<string, unknown>): MigrationRecord =>
  recordSchema.parse(JSON.parse(String(row["record"])));
