/** How large a container's files and memory are. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findCgroup } from "../../shared/adapters/cgroup.ts";
import type { ProcessStatus } from "../../shared/adapters/processes.ts";
import { run } from "../../shared/adapters/run.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { treeSize, type TreeSize } from "./tree-size.ts";

const walkTimeoutMs = 60_000;

/**
 * Bytes that all files beneath each of these directories take on the disk, mounts in them left out: a hole takes none, a file of
 * a few bytes a whole block. What lies in two of them counts in the first. Throws `timeout` after a minute.
 */
export async function filesBytes(dirs: readonly string[]): Promise<number[]> {
  if (dirs.length === 0) return [];
  const args = ["--summarize", "--block-size=1", "--one-file-system", "--", ...dirs];
  const { stdout } = await run("du", args, { timeoutMs: walkTimeoutMs });
  // Files that vanish while it walks make it fail, but it counts the rest.
  const sizes = stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => Number.parseInt(line, 10));
  if (sizes.length === dirs.length && !sizes.some(Number.isNaN)) return sizes;
  return (await walkAll(dirs)).map(({ bytes }) => bytes);
}

/**
 * Inodes that all that is beneath these directories takes, mounts in them left out; a file counts once for each of its names. By
 * `find`, which looks at no file for that: `du` does, and takes more than twice as long. Throws `timeout` after a minute.
 */
export async function countInodes(dirs: readonly string[]): Promise<number> {
  if (dirs.length === 0) return 0;
  const { stdoutBytes } = await run("find", [...dirs, "-xdev", "-printf", "."], { timeoutMs: walkTimeoutMs });
  return stdoutBytes > 0 ? stdoutBytes : sum((await walkAll(dirs)).map(({ inodes }) => inodes));
}

/** For what these could not tell: a directory that was swapped for a link under its feet makes them abort. */
async function walkAll(dirs: readonly string[]): Promise<TreeSize[]> {
  const signal = AbortSignal.timeout(walkTimeoutMs);
  try {
    const sizes: TreeSize[] = [];
    for (const dir of dirs) sizes.push(await treeSize(dir, signal));
    return sizes;
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new DmigrateError("timeout", `measuring ${dirs.join(", ")} took more than ${walkTimeoutMs} ms`, {
      cause: error,
    });
  }
}

export const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0);

/**
 * Bytes of anonymous and shared memory that would move. What processes share since a fork counts once for each: at the
 * destination each gets its own. Shared memory counts once, by the memory control group; without that controller by the
 * sum over all processes.
 */
export function memoryBytes(initPid: number, processes: readonly ProcessStatus[]): number {
  const group = findCgroup(initPid, "memory");
  const stat = group === undefined ? undefined : readOptional(join(group.dir, "memory.stat"));
  if (group === undefined || stat === undefined)
    return processes.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  const value = (key: string): number => Number(new RegExp(`^${key} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
  const shared = value(group.version === 1 ? "total_shmem" : "shmem");
  const own =
    group.version === 1
      ? value("total_rss") + value("total_swap")
      : value("anon") + Number(readOptional(join(group.dir, "memory.swap.current"))?.trim() ?? 0);
  return shared + Math.max(own, sum(processes.map(({ privateBytes }) => privateBytes)));
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // the controller, or the swap account, is off on this kernel
  }
}
