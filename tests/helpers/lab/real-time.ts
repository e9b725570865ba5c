/**
 * On a host of its own the agent may have real-time threads. In a container it may not where the kernel gives out real-time
 * by control group (CONFIG_RT_GROUP_SCHED, cgroup v1), unless the group has a budget: sched-rt-group.rst of the kernel.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup/cpu";
const file = "cpu.rt_runtime_us";
/** Of each second: what one node needs by far, and what all labs of this machine may have together. */
const nodeBudgetUs = 400_000;
const allBudgetUs = 900_000;

/** Gives a node's container a budget where it needs one; where that is refused, its threads do without real-time. */
export function allowRealTime(pid: number): void {
  const path = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1];
  if (path === undefined || !existsSync(join(root, file))) return;
  const groups = path.split("/").filter(Boolean);
  try {
    for (let depth = 1; depth <= groups.length; depth++) {
      const budget = join(root, ...groups.slice(0, depth), file);
      const wanted = depth === groups.length ? nodeBudgetUs : allBudgetUs;
      if (Number(readFileSync(budget, "utf8")) < wanted) writeFileSync(budget, String(wanted));
    }
  } catch {
    // The tests need no real-time; only faults take longer.
  }
}
