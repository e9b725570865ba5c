/**
 * On a host of its own the agent may have real-time threads. In a container it may not where the kernel gives out real-time
 * by control group (CONFIG_RT_GROUP_SCHED, cgroup v1), unless the group has a budget: sched-rt-group.rst of the kernel.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup/cpu";
const file = "cpu.rt_runtime_us";
/** Of each second, for one node: more than its threads need by far. */
const nodeBudgetUs = 400_000;

/**
 * Gives a node's container a budget where it needs one; where that is refused, its threads do without real-time, and only
 * faults take longer. Answers how to take back what the groups around it got for it, once it is gone.
 */
export function allowRealTime(pid: number): () => void {
  const path = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1];
  const groups = path?.split("/").filter(Boolean) ?? [];
  if (groups.length === 0 || !existsSync(join(root, file))) return () => undefined;
  const budgets = groups.map((_group, at) => join(root, ...groups.slice(0, at + 1), file));
  const raised: string[] = [];
  for (const budget of budgets) {
    if (!change(budget, nodeBudgetUs)) break;
    raised.unshift(budget);
  }
  return () => {
    for (const budget of raised) if (existsSync(budget)) change(budget, -nodeBudgetUs);
  };
}

/** False when the kernel refuses. */
function change(budget: string, byUs: number): boolean {
  try {
    writeFileSync(budget, String(Number(readFileSync(budget, "utf8")) + byUs));
    return true;
  } catch {
    return false;
  }
}
