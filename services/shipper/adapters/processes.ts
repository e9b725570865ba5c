/** Whether a process belongs to a container, by its cgroup: v1 or v2, cgroupfs or systemd naming. */
import { readFileSync } from "node:fs";

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
