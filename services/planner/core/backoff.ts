/** How long to wait before trying again: doubling from 100 ms, 10 s at most. A node that comes back is met soon. */
export const retryDelayMs = (attempt: number): number => Math.min(10_000, 100 * 2 ** Math.min(attempt, 10));
