/**
 * What a link carries, as far as it is known: best by a probe of the very connections that a migration uses, corrected by
 * what a migration has met since; else by what the interfaces at its ends claim, which says nothing about the way between.
 */
import type { NodeResources } from "../../shared/contracts/common.ts";
import { rate, size } from "./plan-text.ts";

export interface MeasuredLink {
  /** As a probe found it. */
  bytesPerSecond: number;
  /** Milliseconds since the epoch. */
  measuredAt: number;
  /** What a migration moved over it since, where that is another speed altogether. */
  metBytesPerSecond?: number;
}

export interface LinkSpeed {
  /** Undefined when nothing is known. */
  bytesPerSecond: number | undefined;
  reason: string;
}

export interface LinkEnds {
  from: string;
  to: string;
  source: NodeResources;
  destination: NodeResources;
}

/** Less is sent as over a fast link: whatever that makes of it, it takes less time than to find out. */
export const leastProbedBytes = 32 << 20;
const measuresIt = `a migration of ${size(leastProbedBytes)} or more measures it`;

/** A probe that is older is made again: ways change, and other traffic comes and goes. */
const staleMs = 10 * 60_000;
/** By this factor or more, what was met is another speed than what was measured. */
const otherSpeed = 2;

/** What to plan with. `nowMs` is in milliseconds since the epoch. */
export function linkSpeed(
  { from, to, source, destination }: LinkEnds,
  measured: MeasuredLink | undefined,
  nowMs: number,
): LinkSpeed {
  const link = `link ${from} -> ${to}`;
  if (measured !== undefined) {
    const { bytesPerSecond, measuredAt, metBytesPerSecond } = measured;
    const probed = `${rate(bytesPerSecond)}, measured ${ago(nowMs - measuredAt)}`;
    if (metBytesPerSecond === undefined) return { bytesPerSecond, reason: `${link}: ${probed}` };
    return {
      bytesPerSecond: metBytesPerSecond,
      reason: `${link}: ${rate(metBytesPerSecond)}, met by the last migration; ${probed}`,
    };
  }
  const claimed = [source.linkMbitPerSecond, destination.linkMbitPerSecond].filter(
    (mbit): mbit is number => mbit !== undefined && mbit > 0,
  );
  if (claimed.length === 0) return { bytesPerSecond: undefined, reason: `${link}: of unknown speed; ${measuresIt}` };
  const bytesPerSecond = Math.min(...claimed) * 125_000;
  return {
    bytesPerSecond,
    reason: `${link}: ${rate(bytesPerSecond)} by what the interfaces say; ${measuresIt}`,
  };
}

/** Whether a migration is to measure before it plans on. */
export function isProbeDue(measured: MeasuredLink | undefined, nowMs: number): boolean {
  if (measured?.metBytesPerSecond !== undefined) return true;
  const age = measured === undefined ? Infinity : nowMs - measured.measuredAt;
  // A clock that was put back makes it neither young nor old.
  return age > staleMs || age < 0;
}

/** What is known after a migration has moved data for a while at this rate. */
export function meet(measured: MeasuredLink, bytesPerSecond: number): MeasuredLink {
  const { bytesPerSecond: probed, measuredAt } = measured;
  const isOther = bytesPerSecond * otherSpeed < probed || bytesPerSecond > probed * otherSpeed;
  return { bytesPerSecond: probed, measuredAt, ...(isOther && { metBytesPerSecond: bytesPerSecond }) };
}

function ago(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} ${minutes === 1 ? "minute" : "minutes"} ago`;
  const hours = Math.floor(minutes / 60);
  return `${hours} ${hours === 1 ? "hour" : "hours"} ago`;
}
