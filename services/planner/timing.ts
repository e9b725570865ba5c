/** Clocks and bounds of a migration. Passed in, so that tests can make hours short. */
import { retryDelayMs } from "./core/backoff.ts";
import { pullHeadStartMs } from "./core/pull.ts";

export interface Clock {
  /** Monotonic milliseconds: all durations. */
  now(): number;
  /** Milliseconds since the epoch: what people and traces see. */
  epoch(): number;
}

export const systemClock: Clock = { now: () => performance.now(), epoch: () => Date.now() };

/** How long each call may take, milliseconds. A call that may move data gets more by its size. */
export interface Timing {
  /** Questions, and calls that only note something down. */
  callMs: number;
  /** Profile of a container: it may have to add up a large file system. */
  profileMs: number;
  /** Creating the container at the destination, up to its waiting in the runtime wrapper. */
  createMs: number;
  freezeMs: number;
  /** Dump, delta, images; and the least a transfer gets. */
  moveMs: number;
  /** Slowest transfer that is still waited for. */
  leastBytesPerSecond: number;
  resumeMs: number;
  /** How long an image is pulled before it is sent as well. */
  pullHeadStartMs: number;
  /** How long an answer is news, which is not asked for again before the freeze. */
  momentMs: number;
  /** How often a drain reports, and a resume whose answer was lost is asked after. */
  pollMs: number;
  /** How often a transfer reports while the container still runs. */
  progressMs: number;
  /** Wait before the attempt after attempt n (from 0). */
  retryMs(attempt: number): number;
  /** After a call that may still be on its way: wait before undoing it a second time. */
  settleMs: number;
  /** How long a stop waits for migrations to come to a point where they can rest. */
  stopMs: number;
}

export const defaultTiming: Timing = {
  callMs: 15_000,
  profileMs: 60_000,
  createMs: 90_000,
  freezeMs: 20_000,
  moveMs: 120_000,
  leastBytesPerSecond: 1e6,
  resumeMs: 60_000,
  pullHeadStartMs,
  momentMs: 1_000,
  pollMs: 250,
  progressMs: 500,
  retryMs: retryDelayMs,
  settleMs: 1_000,
  stopMs: 8_000,
};

/** The bound of a call that moves this many bytes. */
export const moveTimeoutMs = (timing: Timing, bytes: number): number =>
  Math.min(timing.moveMs + (bytes / timing.leastBytesPerSecond) * 1000, 2 ** 31 - 1);
