/**
 * A container's control group: freezing, thawing and killing all that is in it, on cgroup version 1 (freezer.state)
 * and version 2 (cgroup.freeze). Nested groups freeze with it, and their processes count as its own.
 *
 * cgroupfs answers from memory, so it is read and written synchronously: a hop to the thread pool would cost more.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { locateCgroup } from "../core/cgroup-path.ts";
import { DmigrateError, hasErrno, messageOf } from "../errors.ts";

export type FreezerState = "thawed" | "freezing" | "frozen";

export interface Freezer {
  readonly version: 1 | 2;
  /** Directory of the group in this process's file system. */
  readonly dir: string;
  /** The file that freezes and thaws, and the words to write into it: for helpers that must do without this module. */
  readonly control: { file: string; freeze: string; thaw: string };
  /** False once the group is gone: the container has stopped. */
  exists(): boolean;
  state(): FreezerState;
  /** Resolves once every process is frozen. Throws `timeout` after `timeoutMs`, with the group thawed again. */
  freeze(options: { timeoutMs: number; signal?: AbortSignal }): Promise<void>;
  /** Lets the processes run. A group that is gone counts as thawed. */
  thaw(): void;
  /** Pids of all processes in the group and in those nested in it, as this process sees them. */
  processes(): number[];
}

/** statfs(2): CGROUP2_SUPER_MAGIC. */
const unifiedType = 0x6367_7270;

/** Whether this node's control groups are of version 2 alone; runc tells it by the same. */
export async function isUnified(): Promise<boolean> {
  const { type } = await statfs("/sys/fs/cgroup");
  return type === unifiedType;
}

/** The group that freezes process `hostPid`. Throws `not-found` when the process is gone, `unavailable` without freezer. */
export function findFreezer(hostPid: number): Freezer {
  const location = findCgroup(hostPid, "freezer");
  if (location === undefined) {
    throw new DmigrateError(
      "unavailable",
      `no freezer control group of process ${hostPid} is mounted here; mount /sys/fs/cgroup (version 2, or version 1 with its freezer controller)`,
    );
  }
  return openFreezer(location.version, location.dir);
}

/** Directory of the group that governs `controller` for a process; undefined when it is not mounted here. */
export function findCgroup(hostPid: number, controller: string): { version: 1 | 2; dir: string } | undefined {
  let memberships: string;
  try {
    memberships = readFileSync(`/proc/${hostPid}/cgroup`, "utf8");
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH"))
      throw new DmigrateError("not-found", `process ${hostPid} does not exist`, { cause: error });
    throw error;
  }
  return locateCgroup(controller, memberships, readFileSync("/proc/self/mountinfo", "utf8"));
}

/** A freezer at a place that is known already. */
export function openFreezer(version: 1 | 2, dir: string): Freezer {
  const control =
    version === 1
      ? { file: join(dir, "freezer.state"), freeze: "FROZEN", thaw: "THAWED" }
      : { file: join(dir, "cgroup.freeze"), freeze: "1", thaw: "0" };
  const exists = (): boolean => isThere(control.file);
  const state = (): FreezerState => (version === 1 ? stateOf1(control.file) : stateOf2(dir));
  const thaw = (): void => {
    try {
      writeFileSync(control.file, control.thaw);
    } catch (error) {
      if (exists()) throw new DmigrateError("internal", `cannot thaw ${dir}: ${messageOf(error)}`, { cause: error });
    }
  };
  const freeze = async (options: { timeoutMs: number; signal?: AbortSignal }): Promise<void> => {
    const started = performance.now();
    let asked = -Infinity;
    for (;;) {
      const now = performance.now();
      // Version 1 may stay "freezing" when a task was at an unlucky place; asking again moves it on.
      if (now - asked > 20) {
        writeFileSync(control.file, control.freeze);
        asked = now;
      }
      if (state() === "frozen") return;
      const late = now - started > options.timeoutMs;
      if (late || options.signal?.aborted === true) {
        thaw();
        if (!late) throw new DmigrateError("cancelled", `freezing ${dir} was cancelled`);
        throw new DmigrateError(
          "timeout",
          `the processes in ${dir} did not freeze within ${options.timeoutMs} ms; one may hang in the kernel (state D in ps)`,
        );
      }
      // Frozen after some hundred microseconds as a rule: look at once a few times, then each millisecond.
      await (now - started < 3 ? nextTurn() : sleep(1));
    }
  };
  return { version, dir, control, exists, state, freeze, thaw, processes: () => processesIn(dir) };
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function stateOf1(file: string): FreezerState {
  const text = readFileSync(file, "utf8").trim();
  return text === "FROZEN" ? "frozen" : text === "FREEZING" ? "freezing" : "thawed";
}

function stateOf2(dir: string): FreezerState {
  if (readFileSync(join(dir, "cgroup.freeze"), "utf8").trim() !== "1") return "thawed";
  return /^frozen 1$/m.test(readFileSync(join(dir, "cgroup.events"), "utf8")) ? "frozen" : "freezing";
}

function processesIn(dir: string): number[] {
  try {
    const own = readFileSync(join(dir, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
    const nested = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    // 0 is a process that this pid namespace cannot see.
    return [...own.filter((pid) => pid > 0), ...nested.flatMap(({ name }) => processesIn(join(dir, name)))];
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENODEV")) return [];
    throw error;
  }
}
