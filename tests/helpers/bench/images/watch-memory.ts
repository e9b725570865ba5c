/**
 * Watches a program's resident memory from outside: watch-memory.ts NAME STOP_FILE
 *
 * From the moment a process of this NAME is there, notes every 20 ms how much memory it has. Ends when STOP_FILE is there, and then
 * prints a line for each note: NANOSECONDS BYTES. The time is the program's own CLOCK_MONOTONIC: CRIU gives what it restores a time
 * namespace in which that clock did not run while the program was frozen. For a closed lab only. Stands alone, since it is copied into
 * the node's image.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";

const everyMs = 20;
const pageBytes = 4096;
const [name, stopFile = ""] = process.argv.slice(2);
const notes: string[] = [];
let directory: string | undefined;

const timer = setInterval(() => {
  if (existsSync(stopFile)) {
    clearInterval(timer);
    process.stdout.write(notes.join(""));
    return;
  }
  directory ??= readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => `/proc/${entry}`)
    .find((each) => read(`${each}/comm`)?.trim() === name);
  const resident = directory && read(`${directory}/statm`)?.split(" ")[1];
  if (directory === undefined || resident === undefined) return;
  const now = process.hrtime.bigint() + clockOffset(directory);
  notes.push(`${now} ${Number(resident) * pageBytes}\n`);
}, everyMs);

/** What the process's monotonic clock is ahead of ours, ns. */
function clockOffset(of: string): bigint {
  const found = /^monotonic\s+(-?\d+)\s+(\d+)/m.exec(read(`${of}/timens_offsets`) ?? "");
  return BigInt(found?.[1] ?? 0) * 1_000_000_000n + BigInt(found?.[2] ?? 0);
}

/** Undefined when the process has ended. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
