/** Which processes belong to a container, by their cgroup: v1 or v2, cgroupfs or systemd naming. */
import { readdirSync, readFileSync } from "node:fs";

/** Whether the process is in the container's cgroup or one below it; false also when it is gone. */
export function cgroupNames(pid: number, containerId: string): boolean {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/cgroup`, "utf8");
  } catch {
    return false;
  }
  const names = new Set([containerId, `docker-${containerId}.scope`]);
  return text.split("\n").some((line) => {
    const path = line.slice(line.indexOf(":", line.indexOf(":") + 1) + 1);
    return path.split("/").some((component) => names.has(component));
  });
}

/** Host pids of the container's processes, as of now. */
export function containerPids(containerId: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => cgroupNames(pid, containerId));
}
