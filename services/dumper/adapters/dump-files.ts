/** The files of a dump on this node. */
import { mkdirSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasErrno } from "../../shared/errors.ts";
import type { MigrationPaths } from "../../shared/node-paths.ts";
import { dumpLogName } from "../core/criu-rpc.ts";
import { criuSettings } from "./criu.ts";

/** Where CRIU finds its settings. */
export const criuConfigPath = ({ dir }: MigrationPaths): string => join(dir, "criu.conf");

/** Makes empty directories for the dump, and CRIU's settings. */
export function makeDumpDirs(paths: MigrationPaths): void {
  removeDump(paths);
  for (const dir of [paths.imagesDir, paths.workDir]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(criuConfigPath(paths), criuSettings, { mode: 0o600 });
}

/**
 * Removes what the dump left on this node, and the migration's directory when nobody else uses it. With `keepLog` CRIU's
 * log is kept beside the checkpoint's record, for whoever looks into a failure.
 */
export function removeDump(paths: MigrationPaths, { keepLog }: { keepLog?: string } = {}): void {
  if (keepLog !== undefined) keepFile(join(paths.workDir, dumpLogName), keepLog);
  for (const path of [paths.sealedMark, criuConfigPath(paths), paths.imagesDir, paths.workDir])
    rmSync(path, { recursive: true, force: true });
  try {
    rmdirSync(paths.dir);
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "ENOTEMPTY")) throw error;
  }
}

function keepFile(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
  }
}
