/** What a link carries, from when how much of what was sent had been acknowledged. */

/** So many bytes in all were acknowledged at `ms`. */
export interface Acknowledged {
  ms: number;
  bytes: number;
}

/**
 * Of the time that was looked at, the first part says little: TCP begins slowly, buffers fill in no time, and a token
 * bucket lets its burst through at any speed.
 */
const leftOut = 0.4;
/** Of the rest, the best stretch of this share of the whole counts: a processor that had other things to do is no link. */
const stretch = 0.3;

/**
 * Bytes per second over the best stretch of the later part of the samples, which are in order. Undefined when they are too
 * few to tell, or nothing came through.
 */
export function linkRate(samples: readonly Acknowledged[]): number | undefined {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const leastMs = stretch * (last.ms - first.ms);
  const later = samples.filter(({ ms }) => ms >= first.ms + leftOut * (last.ms - first.ms));
  let best = 0;
  let end = 0;
  for (const begin of later) {
    for (let at = later[end]; at !== undefined && at.ms - begin.ms < leastMs; at = later[end]) end++;
    best = Math.max(best, rateBetween(begin, later[end]));
  }
  // So few that no stretch is among them.
  if (best === 0) best = rateBetween(first, last);
  return best > 0 ? best : undefined;
}

function rateBetween(begin: Acknowledged, end: Acknowledged | undefined): number {
  return end === undefined || end.ms <= begin.ms ? 0 : ((end.bytes - begin.bytes) / (end.ms - begin.ms)) * 1000;
}
