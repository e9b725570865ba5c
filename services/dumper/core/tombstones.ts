/** Migrations that were aborted before their checkpoint was asked for: one asked for late must not freeze anything. */

const keepMs = 24 * 60 * 60 * 1000;
const keepAtMost = 1000;

export interface Tombstones {
  /** `now` in milliseconds, never less than before. */
  add(id: string, now: number): void;
  has(id: string): boolean;
}

/** Holds the last thousand ids; those older than a day go as others come. */
export function createTombstones(): Tombstones {
  /** The oldest first. */
  const added = new Map<string, number>();
  return {
    add: (id, now) => {
      added.delete(id);
      added.set(id, now);
      for (const [oldest, since] of added) {
        if (added.size <= keepAtMost && now - since < keepMs) break;
        added.delete(oldest);
      }
    },
    has: (id) => added.has(id),
  };
}
