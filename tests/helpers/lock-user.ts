/** One of two threads that take a fill lock at the same moment, in rounds, and say how often both had it. */
import { parentPort, workerData } from "node:worker_threads";
import { giveWay } from "../../services/shared/adapters/thread-priority.ts";
import { FillLock, fillLockBytes } from "../../services/pager/adapters/fill-lock.ts";

export interface LockUse {
  /** The lock's memory, and behind it the words below. */
  shared: SharedArrayBuffer;
  rounds: number;
  /** Begins each round. */
  leads: boolean;
}

/** Which round has begun, how many threads are through with one, and how many have the lock just now. */
export const lockWords = { round: 0, through: 1, holders: 2, count: 3 } as const;
/** Above what the kernel gives to a thread: one that has died. */
const nobody = 0x3fff_fff0;

/** Looks for a moment, so as to be as soon as the other; then leaves it the processor. */
function reach(words: Int32Array, at: number, least: number): void {
  for (let looks = 1; Atomics.load(words, at) < least; looks++) if (looks % 10_000 === 0) giveWay();
}

if (parentPort !== null) {
  const { shared, rounds, leads } = workerData as LockUse;
  const words = new Int32Array(shared, fillLockBytes, lockWords.count);
  const lock = new FillLock(shared);
  let together = 0;
  const work = (): void => {
    if (Atomics.add(words, lockWords.holders, 1) > 0) together++;
    for (let turn = 0; turn < 200; turn++) Atomics.load(words, lockWords.holders);
    Atomics.sub(words, lockWords.holders, 1);
  };
  for (let round = 1; round <= rounds; round++) {
    if (leads) {
      reach(words, lockWords.through, 2 * (round - 1));
      Atomics.store(new Int32Array(shared, 0, 1), 0, nobody);
      Atomics.store(words, lockWords.round, round);
    } else reach(words, lockWords.round, round);
    try {
      lock.exclusively(work);
    } catch {
      // It was the other's to unlock.
      together++;
    }
    Atomics.add(words, lockWords.through, 1);
  }
  parentPort.postMessage(together);
}
