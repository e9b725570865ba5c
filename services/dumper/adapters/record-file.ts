/**
 * Keeps checkpoint records at <stateDir>/checkpoints/<migrationId>.json. They outlive the migration's own directory, so
 * that a repeated commit or abort is answered as the first was.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { openRecordFiles as openFiles } from "../../shared/adapters/record-files.ts";
import type { Log } from "../../shared/log.ts";
import { checkpointRecordSchema, type CheckpointRecord } from "../core/checkpoint-record.ts";

export interface RecordFiles {
  write(record: CheckpointRecord): void;
  readAll(): CheckpointRecord[];
  /** Where CRIU's log of a dump that failed is kept, as long as the record. */
  logOf(migrationId: string): string;
  remove(migrationId: string): void;
}

export function openRecordFiles(stateDir: string, log: Log): RecordFiles {
  const dir = join(stateDir, "checkpoints");
  const files = openFiles(dir, checkpointRecordSchema, log);
  const logOf = (id: string): string => join(dir, `${id}.dump.log`);
  return {
    write: (record) => files.write(record.migrationId, record),
    readAll: () => files.readAll(),
    logOf,
    remove: (id) => {
      files.remove(id);
      rmSync(logOf(id), { force: true });
    },
  };
}
