/**
 * Urgency of the calling thread: sched_setscheduler(2), setpriority(2). A thread that answers page faults does little
 * and must do it at once; among threads that are all busy it would wait milliseconds for a processor.
 */
import { readdirSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import koffi from "koffi";

const yieldProcessor = koffi.load(null).func("int sched_yield()") as () => number;
const setScheduler = koffi.load(null).func("int sched_setscheduler(int, int, const void *)");
const getScheduler = koffi.load(null).func("int sched_getscheduler(int)");

/** SCHED_OTHER, SCHED_RR, SCHED_IDLE. */
const policies = { usual: 0, roundRobin: 2, idle: 5 } as const;
const lowestRealTime = 1;
/** Threads weigh from 19 (least) to -20. */
const heaviest = -20;

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
 * Lets all others go before the usual threads of this process, V8's own and the calling one too, and those that they start
 * from now on: for what nobody waits for. By SCHED_IDLE, since whoever wakes up takes the processor from such a thread at once,
 * and from one of the least weight only when its slice is over. Others that are preferred stay so. Undone by `false`.
 */
export function yieldAllThreads(isToYield: boolean): void {
  if (isToYield) {
    unpreferThisThread();
    reschedule("self", policies.usual, policies.idle);
  } else reschedule("self", policies.idle, policies.usual);
}

/**
 * The second half of it, for another process: on a node that is busy one that yields does not get to hear that it need not any
 * more. Nothing where it has ended.
 */
export const endYielding = (hostPid: number): void => reschedule(hostPid, policies.idle, policies.usual);

function reschedule(hostPid: number | "self", from: number, to: number): void {
  for (const thread of threadsOf(hostPid)) {
    const isMeant = getScheduler(thread) === from && weightOf(thread) === 0;
    if (isMeant) schedule(to, 0, thread);
  }
}

function threadsOf(hostPid: number | "self"): number[] {
  try {
    return readdirSync(`/proc/${hostPid}/task`).map(Number);
  } catch {
    return [];
  }
}

/** To Linux thread 0 is the calling one. One that has ended meanwhile is passed over. */
function schedule(policy: number, priority: number, thread = 0): boolean {
  const parameter = Buffer.alloc(4);
  parameter.writeInt32LE(priority);
  return setScheduler(thread, policy, parameter) === 0;
}

/** Undefined of one that has ended. */
function weightOf(thread: number): number | undefined {
  try {
    return getPriority(thread);
  } catch {
    return undefined;
  }
}

function weigh(nice: number): boolean {
  try {
    setPriority(0, nice);
    return true;
  } catch {
    return false;
  }
}
