/**
 * Files that a container's processes can change without the change time showing it, or are changing: those mapped
 * shared, and those open for writing.
 *
 * A write through a mapping sets the change time only when the page becomes writable. A page that is writable already
 * is changed silently, so a file mapped before it is read must be sent again once the container stands still. A mapping
 * made after the scan began sets the change time after that moment; the comparison of times finds it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { statPathWithoutSync } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";

export interface Writers {
  /** The moment before the scan, on the clock of the file systems. */
  startedNs: bigint;
  /** `identity` of each such file; undefined when the processes changed too fast to be scanned: any file may be one. */
  files: Set<string> | undefined;
}

const maxRounds = 20;

/** Scans until no process is left that was not looked at: a child may have inherited a mapping from a parent now gone. */
export function scanWriters(processes: () => number[]): Writers {
  const startedNs = BigInt(Date.now()) * 1_000_000n;
  const files = new Set<string>();
  const seen = new Set<number>();
  for (let round = 0; round < maxRounds; round++) {
    const fresh = processes().filter((pid) => !seen.has(pid));
    if (fresh.length === 0) return { startedNs, files };
    for (const pid of fresh) {
      seen.add(pid);
      // A process that ends while it is read is found out by the next round: what it left behind is new there.
      ignoreGone(() => addMapped(pid, files));
      ignoreGone(() => addOpen(pid, files));
    }
  }
  return { startedNs, files: undefined };
}

function addMapped(pid: number, files: Set<string>): void {
  for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
    const [range = "", permissions = "", , , inode = "0"] = line.split(" ", 5);
    // Writable or not: mprotect can make it so for the moment of a write.
    if (permissions[3] !== "s" || inode === "0") continue;
    // maps pads its addresses to 8 digits, map_files does not.
    const [from = "", to = ""] = range.split("-").map((address) => address.replace(/^0+(?=.)/, ""));
    ignoreGone(() => files.add(statPathWithoutSync(`/proc/${pid}/map_files/${from}-${to}`).identity));
  }
}

function addOpen(pid: number, files: Set<string>): void {
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    ignoreGone(() => {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1"))?.[1] ?? "0";
      if ((Number.parseInt(flags, 8) & 0o3) === 0) return;
      files.add(statPathWithoutSync(`/proc/${pid}/fd/${fd}`).identity);
    });
  }
}

function ignoreGone(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "ESRCH")) throw error;
  }
}
