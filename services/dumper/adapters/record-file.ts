/**
 * Keeps checkpoint records at <stateDir>/checkpoints/<migrationId>.json: each write replaces the file whole. They outlive
 * the migration's own directory, so that a repeated commit or abort is answered as the first was.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { migrationIdSchema } from "../../shared/contracts/common.ts";
import { hasErrno, messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { checkpointRecordSchema, type CheckpointRecord } from "../core/checkpoint-record.ts";

export interface RecordFiles {
  write(record: CheckpointRecord): void;
  /** Every record there is. A file that cannot be understood is logged and left. */
  readAll(): CheckpointRecord[];
  /** Where CRIU's log of a dump that failed is kept, as long as the record. */
  logOf(migrationId: string): string;
  remove(migrationId: string): void;
}

export function openRecordFiles(stateDir: string, log: Log): RecordFiles {
  const dir = join(stateDir, "checkpoints");
  const fileOf = (id: string): string => join(dir, `${id}.json`);
  const logOf = (id: string): string => join(dir, `${id}.dump.log`);
  return {
    write: (record) => {
      const file = fileOf(record.migrationId);
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      // Synchronous: a caller must not go on before it is there, and a few hundred bytes take no time.
      writeFileSync(`${file}.tmp`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.tmp`, file);
    },
    readAll: () => migrationIds(dir).flatMap((id) => readRecord(fileOf(id), log)),
    logOf,
    remove: (id) => {
      for (const file of [fileOf(id), logOf(id)]) rmSync(file, { force: true });
    },
  };
}

function migrationIds(dir: string): string[] {
  try {
    return readdirSync(dir)
      .map((name) => name.replace(/\.json$/, ""))
      .filter((name) => migrationIdSchema.safeParse(name).success);
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
