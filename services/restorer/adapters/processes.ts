/** Finds and kills what may be left of a restore that failed: runc, CRIU, and half-restored tasks. */
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

interface ProcessInfo {
  pid: number;
  parent: number;
  state: string;
  commandLine: string[];
  cgroups: string;
}

/**
 * Pids of `runc restore` of this container, of all that descends from it, and of every task in a cgroup of the
 * container. Zombies do not count: they run no more.
 */
export async function processesOf(containerId: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const all = (await Promise.all(pids.map(readProcess))).filter((info) => info !== undefined);
  const found = new Set(
    all
      .filter(
        ({ commandLine, cgroups }) =>
          (commandLine.includes("restore") && commandLine.at(-1) === containerId) || cgroups.includes(containerId),
      )
      .map(({ pid }) => pid),
  );
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid, state }) => found.has(pid) && state !== "Z" && state !== "X").map(({ pid }) => pid);
}

async function readProcess(pid: number): Promise<ProcessInfo | undefined> {
  try {
    const [stat, commandLine, cgroups] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/cmdline`, "utf8"),
      readFile(`/proc/${pid}/cgroup`, "utf8"),
    ]);
    // The command name may hold anything, so fields count from its closing parenthesis.
    const [state = "", parent = "0"] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { pid, parent: Number(parent), state, commandLine: commandLine.split("\0").slice(0, -1), cgroups };
  } catch {
    return undefined; // Ended meanwhile.
  }
}

/** Kills all of them, again and again until none is left; false when some still live after `timeoutMs`. */
export async function killProcessesOf(containerId: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const pids = await processesOf(containerId);
    if (pids.length === 0) return true;
    if (performance.now() > deadline) return false;
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
    await sleep(10);
  }
}
