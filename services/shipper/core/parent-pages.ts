/**
 * A pagemap image of which some pages were sent before: CRIU takes them from the images of an earlier dump, its `parent`, which
 * here is what was sent while the container ran.
 */
import type { PageRange, PagemapEntry } from "../../shared/core/criu/process-images.ts";

export interface SplitPagemap {
  entries: PagemapEntry[];
  /** The pages that must be sent, in order, by where they stand in the pages image; counted in pages. */
  own: { imagePage: number; pages: number }[];
}

/** `unchanged`: the pages that the parent has as they are; like the entries ascending and disjoint. No entry is lazy. */
export function splitPagemap(entries: readonly PagemapEntry[], unchanged: readonly PageRange[]): SplitPagemap {
  const split: SplitPagemap = { entries: [], own: [] };
  let next = 0;
  let imagePage = 0;
  const add = (page: number, end: number, inParent: boolean): void => {
    if (end === page) return;
    const pages = end - page;
    split.entries.push({ page, pages, lazy: false, ...(inParent && { inParent }) });
    if (!inParent) {
      const last = split.own.at(-1);
      if (last !== undefined && last.imagePage + last.pages === imagePage) last.pages += pages;
      else split.own.push({ imagePage, pages });
    }
    imagePage += pages;
  };
  for (const { page, pages } of entries) {
    const end = page + pages;
    let at = page;
    for (let run = unchanged[next]; run !== undefined && run.page < end; run = unchanged[next]) {
      const runEnd = run.page + run.pages;
      const from = Math.max(at, run.page);
      const to = Math.min(end, runEnd);
      if (from < to) {
        add(at, from, false);
        add(from, to, true);
        at = to;
      }
      if (runEnd > end) break;
      next++;
    }
    add(at, end, false);
  }
  return split;
}
