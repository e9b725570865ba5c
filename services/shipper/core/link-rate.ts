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

/**
 * Bytes per second over the later part of the samples, which are in order. Undefined when they are too few to tell, or
 * nothing came through.
 */
export function linkRate(samples: readonly Acknowledged[]): number | undefined {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const from = first.ms + leftOut * (last.ms - first.ms);
  const start = samples.find(({ ms }) => ms >= from) ?? first;
  const begin = start.ms < last.ms ? start : first;
  const [bytes, ms] = [last.bytes - begin.bytes, last.ms - begin.ms];
  return bytes > 0 && ms > 0 ? (bytes / ms) * 1000 : undefined;
}
