/** Finds the memory that a container's processes share with each other: files of the kernel's own, which have no name. */
import { closeSync, fstatSync, openSync, readFileSync, statSync, type Stats } from "node:fs";
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { pageBytes } from "../../shared/core/frames/page-message.ts";
import { hasErrno } from "../../shared/errors.ts";
import { dataOf } from "./file-content.ts";

const memfdCreate = koffi.load(null).func("int memfd_create(const char *, unsigned int)") as (
  ...args: unknown[]
) => number;

export interface SharedSegment {
  /** By which CRIU names its images. No other file gets that number while it is open. */
  inode: number;
  /** To read it by; the caller's to close. */
  fd: number;
}

/** Each takes a descriptor here, and a container may have any number of them: the others are left to CRIU's images. */
export const mostSegments = 512;

/** Where a segment is mapped, by its inode: a path in /proc. */
export type MappedSegments = Map<number, string>;

/** /proc/PID/maps (proc_pid_maps(5)): shared and anonymous, by memfd_create(2), or of System V. */
const sharedMapping =
  /^0*([0-9a-f]+)-0*([0-9a-f]+) [r-][w-][x-]s \S+ ([0-9a-f]+):([0-9a-f]+) ([0-9]+) +\/(dev\/zero|memfd:.*|SYSV[0-9a-f]+) \(deleted\)$/gm;

/** What the processes have mapped now. What vanishes meanwhile is left out. */
export function mappedSegments(hostPids: readonly number[]): MappedSegments {
  const device = deviceOfSegments();
  const mapped: MappedSegments = new Map();
  // CRIU names those of System V by other numbers, which could be the same as an inode.
  const others = new Set<number>();
  for (const pid of hostPids) {
    const maps = unlessGone(() => readFileSync(`/proc/${pid}/maps`, "latin1")) ?? "";
    for (const [, from, to, major = "", minor = "", number, name = ""] of maps.matchAll(sharedMapping)) {
      if (name.startsWith("SYSV")) others.add(Number(number));
      // Those of huge pages, and files of such a name, are on other devices, with the same numbers perhaps.
      else if (deviceOf(parseInt(major, 16), parseInt(minor, 16)) === device)
        mapped.set(Number(number), `/proc/${pid}/map_files/${from}-${to}`);
    }
  }
  for (const number of others) mapped.delete(number);
  return mapped;
}

/** Opens the segments, not more than `mostSegments`. What vanishes meanwhile is left out. */
export function openSegments(mapped: MappedSegments): SharedSegment[] {
  const device = deviceOfSegments();
  // A file may have any name, and another mapping may be there by now.
  const isSegment = (stat: Stats, inode: number): boolean => stat.ino === inode && stat.dev === device && stat.isFile();
  const segments: SharedSegment[] = [];
  try {
    for (const [inode, path] of mapped) {
      if (segments.length === mostSegments) break;
      const fd = unlessGone(() => (isSegment(statSync(path), inode) ? openSync(path, "r") : undefined));
      if (fd === undefined) continue;
      if (isSegment(fstatSync(fd), inode)) segments.push({ inode, fd });
      else closeSync(fd);
    }
    return segments;
  } catch (error) {
    for (const { fd } of segments) closeSync(fd);
    throw error;
  }
}

/** The pages that a segment has, but for what lies behind the first `mostRuns` runs of them. */
export function pagesOf(fd: number, mostRuns: number): PageRange[] {
  const runs: PageRange[] = [];
  if (mostRuns === 0) return runs;
  for (const { from, to } of dataOf({ fd, stat: fstatSync(fd) })) {
    const page = Math.floor(from / pageBytes);
    runs.push({ page, pages: Math.ceil(to / pageBytes) - page });
    if (runs.length === mostRuns) break;
  }
  return runs;
}

/** As stat(2) has it (makedev(3)). */
const deviceOf = (major: number, minor: number): number =>
  major * 2 ** 8 + (minor % 2 ** 8) + Math.floor(minor / 2 ** 8) * 2 ** 20;

/** All such files are on one device of the kernel's, where their inodes tell them apart. */
function deviceOfSegments(): number {
  const fd = memfdCreate("dmigrate", 1);
  if (fd < 0) throw new LinuxError("memfd_create", koffi.errno());
  try {
    return fstatSync(fd).dev;
  } finally {
    closeSync(fd);
  }
}

function unlessGone<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH")) return undefined;
    throw error;
  }
}
