/**
 * What the planner remembers of links: measured once per pair of nodes and then for a while, corrected by what migrations
 * meet. A store that fails costs the memory of it, never a migration.
 */
import type { Log } from "../shared/log.ts";
import type { LinkTable } from "./adapters/link-table.ts";
import { isProbeDue, meet, type MeasuredLink } from "./core/link-speed.ts";
import type { Clock } from "./timing.ts";

export interface Links {
  find(from: string, to: string): MeasuredLink | undefined;
  /** Whether a migration is to measure it. */
  isProbeDue(from: string, to: string): boolean;
  /** It was measured just now. */
  noteMeasured(from: string, to: string, bytesPerSecond: number): MeasuredLink;
  /** A migration has moved data over it at this rate, for a while. */
  noteMet(from: string, to: string, bytesPerSecond: number): void;
}

export function createLinks(table: LinkTable, clock: Clock, log: Log): Links {
  const put = (from: string, to: string, link: MeasuredLink): void => {
    try {
      table.put(from, to, link);
    } catch (error) {
      log.error({ err: error, from, to }, "could not note what the link carries; it is measured again");
    }
  };
  const find: Links["find"] = (from, to) => {
    try {
      return table.find(from, to);
    } catch (error) {
      log.error({ err: error, from, to }, "could not read what the link carries; it is measured again");
      return undefined;
    }
  };
  return {
    find,
    isProbeDue: (from, to) => isProbeDue(find(from, to), clock.epoch()),
    noteMeasured: (from, to, bytesPerSecond) => {
      const link = { bytesPerSecond, measuredAt: clock.epoch() };
      put(from, to, link);
      return link;
    },
    noteMet: (from, to, bytesPerSecond) => {
      const known = find(from, to) ?? { bytesPerSecond, measuredAt: clock.epoch() };
      put(from, to, meet(known, bytesPerSecond));
    },
  };
}
