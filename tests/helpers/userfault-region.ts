/**
 * Memory of this very process whose missing pages are asked for through a real userfaultfd, and a thread that uses it as
 * a program would. Only faults from user mode are asked for, so no privilege is needed; forks are not told of.
 */
import { Worker } from "node:worker_threads";
import { mapMemory, openUserfaultfd, watchMemory } from "../../services/pager/adapters/watched-memory.ts";

/** The kernel tells of remap, remove and unmap. */
const features = 4 | 8 | 64;

export interface UserfaultRegion {
  fd: number;
  /** Page numbers: the watched memory, and as much unwatched memory to move some of it to. */
  first: number;
  spare: number;
}

/** False where this machine lets nobody have a userfaultfd. */
export function canUserfault(): boolean {
  try {
    openUserfaultRegion(1);
    return true;
  } catch {
    return false;
  }
}

export function openUserfaultRegion(pages: number): UserfaultRegion {
  const fd = openUserfaultfd(features);
  const [first, spare] = [mapMemory(pages), mapMemory(pages)];
  watchMemory(fd, first, pages);
  return { fd, first, spare };
}

export type MemoryUse =
  /** Answered with the first word of each page. */
  | { kind: "read"; page: number; pages: number }
  | { kind: "forget" | "unmap" | "protect" | "unprotect"; page: number; pages: number }
  | { kind: "move"; page: number; pages: number; to: number };

/** Lets another thread use the memory, one use after the other. Resolves with what the reads found. */
export function useMemory(uses: readonly MemoryUse[]): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("memory-user.ts", import.meta.url), { workerData: uses });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
