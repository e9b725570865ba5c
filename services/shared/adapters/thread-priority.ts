/**
 * Urgency of the calling thread: sched_setscheduler(2), setpriority(2). A thread that answers page faults does little
 * and must do it at once; among threads that are all busy it would wait milliseconds for a processor.
 */
import { readdirSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
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

/**
 * Lets nearly all others go before the usual threads of this process, V8's own and the calling one too, and those that they
 * start from now on: for what nobody waits for. Others that are preferred stay so. Undone by `false`.
 */
export function yieldAllThreads(isToYield: boolean): void {
  if (isToYield) unpreferThisThread();
  const [from, to] = isToYield ? [0, lightest] : [lightest, 0];
  for (const thread of readdirSync("/proc/self/task").map(Number)) if (weightOf(thread) === from) weigh(to, thread);
}

function schedule(policy: number, priority: number): boolean {
  const parameter = Buffer.alloc(4);
  parameter.writeInt32LE(priority);
  return setScheduler(0, policy, parameter) === 0;
}

/** Undefined of one that has ended. */
function weightOf(thread: number): number | undefined {
  try {
    return getPriority(thread);
  } catch {
    return undefined;
  }
}

/** To Linux thread 0 is the calling one. One that has ended meanwhile is passed over. */
function weigh(nice: number, thread = 0): boolean {
  try {
    setPriority(thread, nice);
    return true;
  } catch {
    return false;
  }
}
