/** Ends what a failed migration has left frozen in a node: no signal reaches it, so the node could not be removed. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { hasErrno } from "../../../services/shared/errors.ts";
import { signalProcess } from "../../../services/shared/adapters/processes.ts";

/** The freezer of version 1, and the one hierarchy of version 2, each with its file and the word that thaws. */
const hierarchies = [
  { root: "/sys/fs/cgroup/freezer", file: "freezer.state", thawed: "THAWED" },
  { root: "/sys/fs/cgroup", file: "cgroup.freeze", thawed: "0" },
];

/** Kills every frozen process below the control groups of a container of this machine, and thaws them into their death. */
export function endFrozen(containerId: string): void {
  for (const { root, file, thawed } of hierarchies) {
    if (!existsSync(root)) continue;
    const names = namesBelow(root).filter((name) => name.includes(containerId) && name.endsWith(`/${file}`));
    for (const name of names) {
      try {
        const group = dirname(join(root, name));
        for (const pid of readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
          signalProcess(Number(pid), "SIGKILL");
        writeFileSync(join(root, name), thawed);
      } catch (error) {
        // A group that is gone has nothing left in it.
        if (!hasErrno(error, "ENOENT", "ENODEV")) throw error;
      }
    }
  }
}

/** Groups come and go while they are listed. */
function namesBelow(root: string): string[] {
  for (let left = 20; ; left--) {
    try {
      return readdirSync(root, { recursive: true, encoding: "utf8" });
    } catch (error) {
      if (left === 0 || !hasErrno(error, "ENOENT")) throw error;
    }
  }
}
