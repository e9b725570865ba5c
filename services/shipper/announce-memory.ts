/**
 * Tells the destination which pages there are, so that it can ask for them before CRIU's images say so: of large
 * mappings only, since small ones travel in the images.
 */
import { readFileSync } from "node:fs";
import { openPageScanner } from "../shared/adapters/pagemap-scan.ts";
import type { FrozenProcess } from "../shared/contracts/dumper.ts";
import { frameTypes } from "../shared/core/frames/frame.ts";
import { encodeMemoryMap } from "../shared/core/frames/memory-map.ts";
import { plainMappings } from "../shared/core/plain-mappings.ts";
import type { FramedLink } from "../shared/link/framed.ts";

/** Smaller mappings are eager or cheap. */
const fewestPages = 65;

/**
 * Looks through the processes one after the other. What cannot be looked at, since it has ended or the kernel has no
 * PAGEMAP_SCAN, is passed over: the images tell of it later. Resolves with how many pages were announced, and in how many
 * bytes; never rejects.
 */
export async function announceMemory(
  link: FramedLink,
  processes: readonly FrozenProcess[],
  signal: AbortSignal,
): Promise<{ pages: number; bytes: number }> {
  const announced = { pages: 0, bytes: 0 };
  for (const { pid, hostPid } of processes) {
    try {
      using scanner = openPageScanner(hostPid);
      for (const { page, end } of plainMappings(readFileSync(`/proc/${hostPid}/maps`, "utf8"))) {
        if (end - page < fewestPages) continue;
        const runs = await scanner.ownedPagesAside(page, end);
        if (signal.aborted || !link.open) return announced;
        for (const { pages } of runs) announced.pages += pages;
        for (const frame of encodeMemoryMap({ pid, runs })) {
          announced.bytes += frame.length;
          link.write(frameTypes.memoryMap, 0, frame);
        }
      }
    } catch {
      continue;
    }
  }
  return announced;
}
