/** The records of restores as files `<stateDir>/restores/<migrationId>.json`, replaced atomically. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordSchema, type RestoreRecord } from "../core/record.ts";

export interface Journal {
  /** Synchronous: what follows must not happen before it is written. The directory is in memory, so this takes microseconds. */
  write(record: RestoreRecord): void;
  remove(migrationId: string): void;
  /** Every record that can be read; one that cannot is reported through `onBad` and left where it is. */
  readAll(onBad: (file: string, error: unknown) => void): RestoreRecord[];
}

export function openJournal(stateDir: string): Journal {
  const dir = join(stateDir, "restores");
  const fileOf = (migrationId: string): string => join(dir, `${migrationId}.json`);
  return {
    write(record) {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      const file = fileOf(record.migrationId);
      writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    },
    remove: (migrationId) => rmSync(fileOf(migrationId), { force: true }),
    readAll(onBad) {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      return readdirSync(dir)
        .filter((name) => name.endsWith(".json"))
        .flatMap((name) => {
          try {
            return [recordSchema.parse(JSON.parse(readFileSync(join(dir, name), "utf8")))];
          } catch (error) {
            onBad(join(dir, name), error);
            return [];
          }
        });
    },
  };
}
