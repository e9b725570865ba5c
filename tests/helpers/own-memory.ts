/** Memory of this very process, as a shipper takes it for a container's: it is in a control group, and may read itself. */
import { readFileSync } from "node:fs";
import koffi from "koffi";
import type { FrozenProcess } from "../../services/shared/contracts/dumper.ts";
import { pageBytes } from "../../services/shared/core/frames/page-message.ts";

export interface OwnMemory {
  /** Names the control group that this process is in. */
  containerId: string;
  process: FrozenProcess;
  /** Number of the first page. */
  first: number;
  contents: Buffer;
}

/** So many whole pages of zeros. */
export function takeOwnMemory(pages: number): OwnMemory {
  const room = Buffer.alloc((pages + 1) * pageBytes);
  const address = Number(koffi.address(room));
  const first = Math.ceil(address / pageBytes);
  const group = readFileSync("/proc/self/cgroup", "utf8").split("\n")[0] ?? "";
  const nested = /^NSpid:.*\s(\d+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return {
    containerId: group.split("/").at(-1) ?? "",
    process: { pid: Number(nested), hostPid: process.pid },
    first,
    contents: room.subarray(first * pageBytes - address, (first + pages) * pageBytes - address),
  };
}
