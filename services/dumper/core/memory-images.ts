/**
 * The pagemap of a process whose memory CRIU was not shown: made of what the kernel says is there, and of the little
 * that CRIU dumps in any case (the vDSO).
 */
import type { PageRange, PagemapEntry } from "../../shared/core/criu/process-images.ts";
import type { Mapping } from "./memory-map.ts";

/** A run of pages for the pagemap, and where the bytes of one that is not lazy come from. */
export interface DumpedRun extends PagemapEntry {
  /** From the process itself, or from CRIU's pages image, at this offset in pages. */
  from: "process" | { imagePage: number };
}

/**
 * Small mappings are dumped at once, as long as there is room: stacks and a program's variables are needed at the first step
 * after the restore, each by a fault of its own.
 */
const eagerPagesOfMapping = 64;
export const eagerPages = 256;

/** `present` are the pages of one mapping that are there, ascending. Returns the runs, and what is left of the room for eager ones. */
export function planMapping(
  { lazy }: Mapping,
  present: readonly PageRange[],
  eagerLeft: number,
): { runs: DumpedRun[]; eagerLeft: number } {
  const count = present.reduce((sum, { pages }) => sum + pages, 0);
  const isEager = lazy && count <= eagerPagesOfMapping && count <= eagerLeft;
  return {
    runs: present.map(({ page, pages }) => ({ page, pages, lazy: lazy && !isEager, from: "process" as const })),
    eagerLeft: isEager ? eagerLeft - count : eagerLeft,
  };
}

/** Adds those of CRIU's pages that are in none of our runs. Both ascending and disjoint; so is the result. */
export function mergeRuns(ours: readonly DumpedRun[], crius: readonly PagemapEntry[]): DumpedRun[] {
  const merged: DumpedRun[] = [];
  let next = 0;
  /** Past the last page of ours that is in `merged`. */
  let covered = 0;
  const takeOurs = (upTo: number): void => {
    for (let run = ours[next]; run !== undefined && run.page <= upTo; run = ours[next]) {
      merged.push(run);
      covered = run.page + run.pages;
      next += 1;
    }
  };
  let imagePage = 0;
  for (const entry of crius) {
    const end = entry.page + entry.pages;
    for (let page = entry.page; page < end;) {
      takeOurs(page);
      page = Math.max(page, covered);
      const until = Math.min(end, ours[next]?.page ?? end);
      if (page < until) {
        const from = entry.lazy ? ("process" as const) : { imagePage: imagePage + page - entry.page };
        merged.push({ page, pages: until - page, lazy: entry.lazy, from });
        page = until;
      }
    }
    if (!entry.lazy) imagePage += entry.pages;
  }
  takeOurs(Infinity);
  return merged;
}
