/**
 * Directories of this node that bind mounts come to. Only such as are absent or empty are made or filled by a migration
 * (refuse.ts), so that a roll back may take away all that is in them. No path with a symbolic link in it is used.
 */
import { lstat, mkdir, readdir, realpath, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import type { BindDirectory } from "../core/refuse.ts";

/** What a roll back takes away: all that is in the directory, and the directories that were made to have it. */
export interface FilledBind {
  path: string;
  /** The topmost one that was made: `path` or one above. */
  made?: string | undefined;
}

export async function lookAtBindDirectory(path: string): Promise<BindDirectory["is"]> {
  try {
    if (!(await lstat(path)).isDirectory() || (await realpath(path)) !== path) return "no-directory";
    return (await readdir(path)).length === 0 ? "empty" : "filled";
  } catch (error) {
    if (hasErrno(error, "ENOTDIR")) return "no-directory";
    if (!hasErrno(error, "ENOENT")) throw error;
  }
  const parent = await firstPresent(dirname(path));
  return (await realpath(parent)) === parent && (await lstat(parent)).isDirectory() ? "absent" : "no-directory";
}

/** Makes the directory where it is absent; `note` is told beforehand what a roll back has to take away. */
export async function makeBindDirectory(path: string, note: (filled: FilledBind) => void): Promise<void> {
  const is = await lookAtBindDirectory(path);
  if (is === "no-directory") throw new DmigrateError("conflict", `${path} is no directory by itself`);
  // With data in it, it is a leftover's, which a new migration writes over as it does with volumes.
  if (is === "filled") return;
  if (is === "empty") {
    note({ path });
    return;
  }
  const present = await firstPresent(dirname(path));
  const [first = ""] = path.slice(present === "/" ? 1 : present.length + 1).split("/");
  note({ path, made: join(present, first) });
  await mkdir(path, { recursive: true, mode: 0o755 });
}

/** Nothing of the container has run here: what lies there is ours, and stands still. */
export async function clearBindDirectory({ path, made }: FilledBind): Promise<void> {
  const names = await unlessGone(readdir(path, { encoding: "buffer" }));
  for (const name of names ?? [])
    await rm(Buffer.concat([Buffer.from(`${path}/`), name]), { recursive: true, force: true });
  if (made === undefined) return;
  for (let at = path; at.startsWith(made); at = dirname(at)) {
    try {
      await unlessGone(rmdir(at));
    } catch (error) {
      // Somebody else has found a use for it.
      if (hasErrno(error, "ENOTEMPTY", "EEXIST")) return;
      throw error;
    }
  }
}

async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function firstPresent(path: string): Promise<string> {
  try {
    await lstat(path);
    return path;
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
    return firstPresent(dirname(path));
  }
}
