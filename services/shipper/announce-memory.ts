/**
 * Tells the destination which pages there are, so that it can ask for them before CRIU's images say so: of large
 * mappings only, since small ones travel in the images.
 */
import { readFileSync } from "node:fs";
import { openPageScanner } from "../shared/adapters/pagemap-scan.ts";
import type { FrozenProcess } from "../shared/contracts/dumper.ts";
import { encodeMemoryMap } from "../shared/core/frames/memory-map.ts";
import type { PageRange } from "../shared/core/criu/process-images.ts";
import { plainMappings } from "../shared/core/plain-mappings.ts";

/** Smaller mappings are eager or cheap. */
const fewestPages = 65;

/**
 * Looks through the processes one after the other, and hands on frames that say what they have. What cannot be looked at,
 * since it has ended or the kernel has no PAGEMAP_SCAN, is passed over: the images tell of it later. Resolves with how
 * many pages were announced. Rejects with what `tell` does.
 */
export async function announceMemory(
  processes: readonly FrozenProcess[],
  signal: AbortSignal,
  tell: (frames: readonly Buffer[]) => Promise<void>,
): Promise<number> {
  let announced = 0;
  for (const { pid, hostPid } of processes) {
    for await (const runs of largeMappingsOf(hostPid)) {
      if (signal.aborted) return announced;
      for (const { pages } of runs) announced += pages;
      await tell(encodeMemoryMap({ pid, runs }));
    }
  }
  return announced;
}

async function* largeMappingsOf(hostPid: number): AsyncGenerator<PageRange[]> {
  try {
    using scanner = openPageScanner(hostPid);
    for (const { page, end } of plainMappings(readFileSync(`/proc/${hostPid}/maps`, "utf8")))
      if (end - page >= fewestPages) yield await scanner.ownedPagesAside(page, end);
  } catch {
    // Told of by the images.
  }
}
