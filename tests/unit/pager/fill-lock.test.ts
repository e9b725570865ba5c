import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { fillLockBytes } from "../../../services/pager/adapters/fill-lock.ts";
import { lockWords, type LockUse } from "../../helpers/lock-user.ts";

test("the lock of a thread that died with it goes to one of those who find that, not to each", async () => {
  const shared = new SharedArrayBuffer(fillLockBytes + lockWords.count * Int32Array.BYTES_PER_ELEMENT);
  const program = new URL("../../helpers/lock-user.ts", import.meta.url);
  const results = [true, false].map((leads) => {
    const workerData: LockUse = { shared, rounds: 1_000, leads };
    return once(new Worker(program, { workerData }), "message");
  });
  expect((await Promise.all(results)).flat()).toEqual([0, 0]);
});
