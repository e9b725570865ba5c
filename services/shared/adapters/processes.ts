/** What /proc says about processes: parents, pids inside containers, memory, open files. */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { hasErrno } from "../errors.ts";

export interface ProcessStatus {
  hostPid: number;
  /** 0 when the parent is in a pid namespace that is not visible from here. */
  parent: number;
  /** The pid in the innermost namespace, which is CRIU's name for the process. */
  innerPid: number;
  /** One letter: R, S, D, T, Z … (proc_pid_stat(5)). */
  state: string;
  /** Pid of the process that traces it (CRIU, a debugger), or 0. */
  tracer: number;
  /** Anonymous and shared memory in use, swapped out included, in bytes. */
  memoryBytes: number;
  /** The part of it that no file or other process shares, in bytes. */
  privateBytes: number;
  /** Memory that is locked or of huge pages, in bytes. */
  eagerBytes: number;
}

/** Undefined when there is no such process (any more). */
export function readProcess(hostPid: number): ProcessStatus | undefined {
  const text = readProc(`/proc/${hostPid}/status`);
  return text === undefined ? undefined : parseStatus(hostPid, text);
}

export function parseStatus(hostPid: number, text: string): ProcessStatus {
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
  const kilobytes = (name: string): number => Number.parseInt(field(name), 10) || 0;
  return {
    hostPid,
    parent: Number(field("PPid")),
    innerPid: Number(field("NSpid").split(/\s+/).at(-1) ?? hostPid) || hostPid,
    state: field("State").charAt(0),
    tracer: Number(field("TracerPid")),
    eagerBytes: (kilobytes("VmLck") + kilobytes("HugetlbPages")) * 1024,
    privateBytes: (kilobytes("RssAnon") + kilobytes("VmSwap")) * 1024,
    memoryBytes: (kilobytes("RssAnon") + kilobytes("RssShmem") + kilobytes("VmSwap")) * 1024,
  };
}

/** Those of `pids` that are neither `root` nor descend from it: they came into its control group from outside. */
export function strangersTo(root: number, processes: readonly ProcessStatus[]): ProcessStatus[] {
  const parents = new Map(processes.map(({ hostPid, parent }) => [hostPid, parent]));
  const belongs = (pid: number): boolean => {
    // Bounded by the number of processes, so that a racing change of parents cannot make a ring.
    for (let steps = 0, at: number | undefined = pid; at !== undefined && steps <= parents.size; steps++) {
      if (at === root) return true;
      at = parents.get(at);
    }
    return false;
  };
  return processes.filter(({ hostPid }) => !belongs(hostPid));
}

/** A descriptor of a process, and where it leads: "/data/x", "socket:[1]", "anon_inode:[io_uring]". */
export interface OpenFile {
  hostPid: number;
  fd: string;
  link: string;
}

/** None when the process is gone. */
export function openFiles(hostPid: number): OpenFile[] {
  const dir = `/proc/${hostPid}/fd`;
  try {
    return readdirSync(dir).flatMap((fd) => {
      try {
        return [{ hostPid, fd, link: readlinkSync(`${dir}/${fd}`) }];
      } catch {
        return []; // closed meanwhile
      }
    });
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH")) return [];
    throw error;
  }
}

/** A file that is open and has no name any more. */
export interface NamelessFile {
  /** Device and inode: which file it is. */
  identity: string;
  /** What it takes on the disk. */
  bytes: number;
}

/** Each once. Memory that has no name in any directory (memfd, shared anonymous memory) is none. */
export function namelessFiles(files: readonly OpenFile[]): NamelessFile[] {
  const found = new Map<string, NamelessFile>();
  for (const { hostPid, fd, link } of files) {
    if (!link.endsWith(" (deleted)") || /^\/(memfd:|dev\/zero|SYSV)/.test(link)) continue;
    try {
      const { dev, ino, blocks, nlink } = statSync(`/proc/${hostPid}/fd/${fd}`);
      const identity = `${dev}:${ino}`;
      if (nlink === 0) found.set(identity, { identity, bytes: blocks * 512 });
    } catch {
      // closed meanwhile
    }
  }
  return [...found.values()];
}

/** False when it has ended, or has begun to: then it gives its memory back first, and its parent is told last. */
export function hasMemory(hostPid: number): boolean {
  const pages = Number.parseInt(readProc(`/proc/${hostPid}/statm`) ?? "", 10);
  return pages > 0;
}

/** Established TCP connections in the network namespace of the process. */
export function establishedConnections(hostPid: number): number {
  return ["tcp", "tcp6"]
    .map((name) => readProc(`/proc/${hostPid}/net/${name}`) ?? "")
    .flatMap((text) => text.split("\n").slice(1))
    .filter((line) => line.trim().split(/\s+/)[3] === "01").length;
}

/** Pids of all processes visible here, with their command lines. */
export function commandLines(): { hostPid: number; args: string[] }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const text = readProc(`/proc/${name}/cmdline`);
      return text === undefined || text === "" ? [] : [{ hostPid: Number(name), args: text.split("\0").slice(0, -1) }];
    });
}

/** Sends a signal; false when there is no such process or process group (negative pid). */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (hasErrno(error, "ESRCH")) return false;
    throw error;
  }
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH", "EINVAL")) return undefined;
    throw error;
  }
}

/** Pids in a process group, zombies left out. */
export function processGroupMembers(group: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      // "PID (NAME) STATE PPID PGRP …": the name may hold anything, but ends at the last parenthesis.
      const stat = readProc(`/proc/${pid}/stat`);
      const [state, , pgrp] = stat?.slice(stat.lastIndexOf(")") + 2).split(" ") ?? [];
      return state !== undefined && state !== "Z" && state !== "X" && Number(pgrp) === group;
    });
}
