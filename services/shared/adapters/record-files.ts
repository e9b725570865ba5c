/**
 * Records of a migration as files `<dir>/<migrationId>.json`: each write replaces the file whole, for its owner's eyes
 * only, so that a service started anew finds what the one before it knew.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { migrationIdSchema } from "../contracts/common.ts";
import { hasErrno, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";

export interface RecordFiles<T> {
  /** Synchronous: a caller must not go on before it is there, and the directory is in memory. */
  write(migrationId: string, record: T): void;
  /** Every record there is. A file that cannot be understood is logged and left. */
  readAll(): T[];
  remove(migrationId: string): void;
}

export function openRecordFiles<T>(dir: string, schema: z.ZodType<T>, log: Log): RecordFiles<T> {
  const fileOf = (id: string): string => join(dir, `${id}.json`);
  return {
    write: (id, record) => {
      const file = fileOf(id);
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.tmp`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.tmp`, file);
    },
    readAll: () => migrationIds(dir).flatMap((id) => readRecord(fileOf(id), schema, log)),
    remove: (id) => rmSync(fileOf(id), { force: true }),
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

function readRecord<T>(file: string, schema: z.ZodType<T>, log: Log): T[] {
  try {
    return [schema.parse(JSON.parse(readFileSync(file, "utf8")))];
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return [];
    log.error({ file, reason: messageOf(error) }, "a record cannot be read; see what its migration has left");
    return [];
  }
}
