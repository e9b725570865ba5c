/**
 * Urgency of the calling thread: sched_setscheduler(2), setpriority(2). A thread that answers page faults does little
 * and must do it at once; among threads that are all busy it would wait milliseconds for a processor.
 */
import { setPriority } from "node:os";
import koffi from "koffi";

const yieldProcessor = koffi.load(null).func("int sched_yield()") as () => number;
const setScheduler = koffi.load(null).func("int sched_setscheduler(int, int, const void *)");

const policies = { usual: 0, roundRobin: 2 } as const;
const lowestRealTime = 1;
/** Threads weigh from 19 (least) to -20. */
const heaviest = -20;
const lightest = 19;

export type Urgency = "real-time" | "heavy" | "usual";

/**
 * Puts the calling thread before all usual ones, and those that it starts from now on too. The lowest real-time priority
 * if it is to be had: not in a control group without real-time budget, for one. Answers what it got.
 */
export function preferThisThread(): Urgency {
  if (schedule(policies.roundRobin, lowestRealTime)) return "real-time";
  return weigh(heaviest) ? "heavy" : "usual";
}

/** Lets whoever else is ready to run on this processor do so first: sched_yield(2). */
export const giveWay = (): void => void yieldProcessor();

/** Makes the calling thread one of the usual ones, whatever it was started by. */
export function unpreferThisThread(): void {
  schedule(policies.usual, 0);
  weigh(0);
}

/** Lets nearly all others go before the calling thread, and those that it starts from now on: for what nobody waits for. */
export function yieldThisThread(): void {
  schedule(policies.usual, 0);
  weigh(lightest);
}

function schedule(policy: number, priority: number): boolean {
  const parameter = Buffer.alloc(4);
  parameter.writeInt32LE(priority);
  return setScheduler(0, policy, parameter) === 0;
}

function weigh(nice: number): boolean {
  try {
    // To Linux 0 is the calling thread.
    setPriority(0, nice);
    return true;
  } catch {
    return false;
  }
}
