/** Keeps checkpoint records at <stateDir>/migrations/<id>/checkpoint.json: each write replaces the file whole. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { migrationIdSchema } from "../../shared/contracts/common.ts";
import { hasErrno, messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { migrationPaths, migrationsDir } from "../../shared/node-paths.ts";
import { checkpointRecordSchema, type CheckpointRecord } from "../core/checkpoint-record.ts";

export interface RecordFiles {
  write(record: CheckpointRecord): void;
  /** Every record there is. A file that cannot be understood is logged and left. */
  readAll(): CheckpointRecord[];
  /** Removes the record, and the migration's directory if nothing else is in it. */
  remove(migrationId: string): void;
}

const fileName = "checkpoint.json";

export function openRecordFiles(stateDir: string, log: Log): RecordFiles {
  const fileOf = (id: string): string => join(migrationPaths(stateDir, id).dir, fileName);
  return {
    write: (record) => {
      const file = fileOf(record.migrationId);
      mkdirSync(migrationPaths(stateDir, record.migrationId).dir, { recursive: true, mode: 0o700 });
      // Synchronous: a caller must not go on before it is there, and a few hundred bytes take no time.
      writeFileSync(`${file}.tmp`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.tmp`, file);
    },
    readAll: () => migrationIds(stateDir).flatMap((id) => readRecord(fileOf(id), log)),
    remove: (id) => {
      rmSync(fileOf(id), { force: true });
      try {
        rmdirSync(migrationPaths(stateDir, id).dir);
      } catch (error) {
        if (!hasErrno(error, "ENOTEMPTY", "ENOENT")) throw error;
      }
    },
  };
}

function migrationIds(stateDir: string): string[] {
  try {
    return readdirSync(migrationsDir(stateDir)).filter((name) => migrationIdSchema.safeParse(name).success);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return [];
    throw error;
  }
}

function readRecord(file: string, log: Log): CheckpointRecord[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return [];
    throw error;
  }
  try {
    return [checkpointRecordSchema.parse(JSON.parse(text))];
  } catch (error) {
    log.error(
      { file, reason: messageOf(error) },
      "a checkpoint's record cannot be read; see whether its container is frozen",
    );
    return [];
  }
}
