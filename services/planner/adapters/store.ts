/**
 * The planner's memory: one SQLite file that survives a crash at any instant (WAL, commits synced). It holds node
 * tokens, so only its owner may read it. One planner at a time: two that drive the same migration could run a container
 * twice, so the file is locked for as long as it is open.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { createLinkTable, linkSchema, type LinkTable } from "./link-table.ts";
import { createLeftoverTable, type LeftoverTable } from "./leftover-table.ts";
import { createMigrationTable, type MigrationTable } from "./migration-table.ts";
import { createNodeTable, type NodeTable } from "./node-table.ts";

export interface Store {
  readonly nodes: NodeTable;
  readonly migrations: MigrationTable;
  readonly leftovers: LeftoverTable;
  readonly links: LinkTable;
  /** Writes and syncs something; throws `unavailable` when the disk refuses. */
  probe(): void;
  close(): void;
}

/** Runs `work`; whatever SQLite throws becomes `unavailable` with what was being done. */
export type Guard = <T>(doing: string, work: () => T) => T;

const schemaVersion = 2;

const schema = `
  CREATE TABLE nodes (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
  CREATE TABLE migrations (
    id TEXT PRIMARY KEY, serial INTEGER NOT NULL UNIQUE, finished INTEGER NOT NULL, record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX unfinished ON migrations (serial) WHERE finished = 0;
  CREATE TABLE events (
    migration TEXT NOT NULL REFERENCES migrations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL, type TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (migration, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE leftovers (
    node TEXT NOT NULL, name TEXT NOT NULL, container_id TEXT NOT NULL, PRIMARY KEY (node, name)
  ) STRICT, WITHOUT ROWID;
  ${linkSchema}
  CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL) STRICT;
  INSERT INTO probe VALUES (1, 0);
`;

/** Opens or creates `<stateDir>/planner.db`. Throws `unavailable` naming the file and what to do. */
export function openStore(stateDir: string): Store {
  const path = join(stateDir, "planner.db");
  const guard: Guard = (doing, work) => {
    try {
      return work();
    } catch (error) {
      if (error instanceof DmigrateError) throw error;
      throw new DmigrateError("unavailable", `the planner's store ${path} failed while ${doing}: ${advise(error)}`, {
        cause: error,
      });
    }
  };
  const db = guard("being opened", () => open(stateDir, path));
  try {
    guard("being prepared", () => prepare(db, path));
  } catch (error) {
    db.close();
    throw error;
  }
  const bump = db.prepare("UPDATE probe SET count = count + 1");
  return {
    nodes: createNodeTable(db, guard),
    migrations: createMigrationTable(db, guard),
    leftovers: createLeftoverTable(db, guard),
    links: createLinkTable(db, guard),
    probe: () => guard("being probed", () => void bump.run()),
    close: () => db.close(),
  };
}

function open(stateDir: string, path: string): DatabaseSync {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  // Created before SQLite does, so that it is never readable by others; WAL files take its mode.
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  return new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout: 1000 });
}

function prepare(db: DatabaseSync, path: string): void {
  db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
  db.exec("BEGIN IMMEDIATE");
  const found = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (found === 0) db.exec(`${schema} PRAGMA user_version = ${schemaVersion};`);
  // The first version knew nothing of links.
  if (found === 1) db.exec(`${linkSchema} PRAGMA user_version = ${schemaVersion};`);
  db.exec("COMMIT");
  if (found > schemaVersion) {
    throw new DmigrateError(
      "unavailable",
      `${path} was written by another version of the planner (schema ${found}, this one knows ${schemaVersion}); ` +
        "start that version, or move the file away once no migration is under way",
    );
  }
}

/** SQLite's message, and what to do about the failures that people meet. */
function advise(error: unknown): string {
  const message = messageOf(error);
  const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
  if (code === 5) return `${message}; is another planner running on this state directory?`;
  if (code === 13) return `${message}; make room on its disk`;
  if (code === 8 || code === 14) return `${message}; make it writable for this user`;
  if (code === 11 || code === 26)
    return `${message}; the file is damaged: restore it, or move it away and look after the nodes by hand`;
  return message;
}
