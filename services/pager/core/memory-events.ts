/**
 * What the kernel tells of a process's memory, and in which order it happened.
 *
 * A thread's change of the memory is told when it is over, and the lock is given up before: another thread may use the
 * place that became free, and be told of first (mm/mremap.c and mm/mmap.c end with userfaultfd's events). Whoever took
 * the order of telling for that of happening would take pages for gone that had just been moved there.
 */

/** Page numbers; `to` and `from` of a move, of `pages` pages. */
export type MemoryChange =
  { kind: "move"; from: number; to: number; pages: number } | { kind: "remove" | "unmap"; page: number; pages: number };

export type MemoryEvent = { kind: "fault"; page: number } | { kind: "fork"; child: number } | MemoryChange;

/** Whether a mapping that is watched holds a page, now that nothing changes. */
export type IsMapped = (page: number) => boolean;

export const isChange = (event: MemoryEvent): event is MemoryChange => event.kind !== "fault" && event.kind !== "fork";

/** Whether others may have happened before it that are still to be told. */
export const mayBeEarly = ({ kind }: MemoryEvent): boolean => kind === "move" || kind === "fork";

/**
 * The changes as they happened; `told` has all that were under way. What left a place where something was moved to, and
 * still is, has left before.
 */
export function asTheyHappened(told: readonly MemoryChange[], isMapped: IsMapped): MemoryChange[] {
  const happened: MemoryChange[] = [];
  for (const change of told) {
    const left = placeLeft(change);
    const next =
      left === undefined
        ? -1
        : happened.findIndex((earlier) => {
            if (earlier.kind !== "move") return false;
            const page = Math.max(earlier.to, left.page);
            return page < Math.min(earlier.to + earlier.pages, left.page + left.pages) && isMapped(page);
          });
    happened.splice(next === -1 ? happened.length : next, 0, change);
  }
  return happened;
}

/** Whether a change left its place before a fork: then the child has nothing there. Undefined when that cannot be told. */
export function wasBefore(change: MemoryChange, isMappedInChild: IsMapped): boolean | undefined {
  const left = placeLeft(change);
  return left === undefined ? undefined : !isMappedInChild(left.page);
}

/** A removal leaves the mapping where it is. */
function placeLeft(change: MemoryChange): { page: number; pages: number } | undefined {
  if (change.kind === "remove") return undefined;
  return { page: change.kind === "move" ? change.from : change.page, pages: change.pages };
}
