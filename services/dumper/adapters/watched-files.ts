/**
 * Whether processes watch files of the container's own layers by inotify of which CRIU cannot say where they are: on an
 * overlay it finds a file by its handle nowhere, and by its inode only in a few directories (criu/irmap.c).
 */
import { lstatSync, readdirSync, readFileSync, statSync, type BigIntStats } from "node:fs";
import type { OpenFile } from "../../shared/adapters/processes.ts";
import { hasErrno } from "../../shared/errors.ts";

const scannedDirectories = ["etc", "var/log", "var/spool"];
/** Entries of those directories that are looked at: what is not found by then counts as elsewhere. */
const mostEntries = 20_000;

interface Watched {
  inode: bigint;
  /** As the kernel numbers it, not as a stat does. */
  device: bigint;
}

/** `files`: what the container's processes have open; `initPid` shows its files. What is closed meanwhile watches nothing. */
export function watchesUnknownFiles(initPid: number, files: readonly OpenFile[]): boolean {
  const watches = files.filter(({ link }) => link === "anon_inode:inotify").flatMap(watchedBy);
  const root = watches.length === 0 ? undefined : statOf(`/proc/${initPid}/root/`);
  if (root === undefined) return false;
  const device = kernelDevice(root.dev);
  const own = watches.filter((watched) => watched.device === device);
  if (own.length === 0) return false;
  const found = inodesIn(scannedDirectories.map((name) => `/proc/${initPid}/root/${name}`));
  return own.some(({ inode }) => !found.has(inode));
}

/** proc_pid_fdinfo(5): `inotify wd:1 ino:17091b sdev:fe00000 …`, in hexadecimal. */
function watchedBy({ hostPid, fd }: OpenFile): Watched[] {
  const text = unlessGone(() => readFileSync(`/proc/${hostPid}/fdinfo/${fd}`, "utf8")) ?? "";
  return [...text.matchAll(/^inotify .*\bino:([0-9a-f]+) sdev:([0-9a-f]+)/gm)].map(([, inode = "", device = ""]) => ({
    inode: BigInt(`0x${inode}`),
    device: BigInt(`0x${device}`),
  }));
}

/** A stat has the numbers as the C library does (makedev(3)), the kernel's own way is 12 and 20 bits. */
function kernelDevice(dev: bigint): bigint {
  const major = (dev >> 8n) & 0xfffn;
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xfff00n);
  return (major << 20n) | minor;
}

function inodesIn(directories: string[]): Set<bigint> {
  const found = new Set<bigint>();
  for (let path = directories.pop(); path !== undefined && found.size < mostEntries; path = directories.pop()) {
    const stat = statOf(path);
    if (stat === undefined) continue;
    found.add(stat.ino);
    if (!stat.isDirectory()) continue;
    for (const name of unlessGone(() => readdirSync(path)) ?? []) directories.push(`${path}/${name}`);
  }
  return found;
}

/** A link is not followed, but for the first part: that is the kernel's own, into the container. */
const statOf = (path: string): BigIntStats | undefined =>
  unlessGone(() => (path.endsWith("/") ? statSync(path, { bigint: true }) : lstatSync(path, { bigint: true })));

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH", "ENOTDIR", "EACCES", "EINVAL", "ELOOP")) return undefined;
    throw error;
  }
}
