/** The machine's memory. */
import { readFileSync } from "node:fs";

/** What programs can still have, MB, as the kernel estimates it. */
export function availableMemoryMb(): number {
  const kib = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return Number(kib) * 1.024e-3;
}
