/** Finds the memory that a container's processes share with each other: anonymous mappings, which are files that have no name. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { hasErrno } from "../../shared/errors.ts";

export interface SharedSegment {
  /** Its inode: CRIU names its images by it. No other file gets that number while it is open. */
  inode: number;
  /** To read it by; the caller's to close. */
  fd: number;
}

/** /proc/PID/maps (proc_pid_maps(5)): shared, and of the file that stands behind such mappings. */
const sharedMapping = /^0*([0-9a-f]+)-0*([0-9a-f]+) [r-][w-][x-]s \S+ \S+ ([0-9]+) +\/dev\/zero \(deleted\)$/gm;

/** Opens each segment once. What vanishes meanwhile is left out. */
export function openSharedSegments(hostPids: readonly number[]): SharedSegment[] {
  const segments = new Map<number, SharedSegment>();
  for (const pid of hostPids) {
    ignoreGone(() => {
      for (const [, from, to, number] of readFileSync(`/proc/${pid}/maps`, "latin1").matchAll(sharedMapping)) {
        const inode = Number(number);
        if (!segments.has(inode))
          ignoreGone(() => segments.set(inode, open(`/proc/${pid}/map_files/${from}-${to}`, inode)));
      }
    });
  }
  return [...segments.values()];
}

function open(path: string, inode: number): SharedSegment {
  const fd = openSync(path, "r");
  // Another mapping may be there by now.
  if (fstatSync(fd).ino === inode) return { inode, fd };
  closeSync(fd);
  throw Object.assign(new Error(`${path} is another mapping now`), { code: "ENOENT" });
}

function ignoreGone(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "ESRCH")) throw error;
  }
}
