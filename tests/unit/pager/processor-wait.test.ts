import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { ProcessorWait } from "../../../services/pager/adapters/processor-wait.ts";

const spin = (ms: number): void => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

test.skipIf(!existsSync("/proc/self/schedstat"))(
  "a thread that shares its processors with more threads than there are waits for a good part of the time",
  async () => {
    const wait = new ProcessorWait();
    const busy = Array.from(
      { length: 3 * availableParallelism() },
      () => new Worker("const end = Date.now() + 10000; while (Date.now() < end);", { eval: true }),
    );
    try {
      await Promise.all(busy.map((worker) => new Promise((resolve) => worker.once("online", resolve))));
      wait.share();
      spin(300);
      expect(wait.share()).toBeGreaterThan(0.3);
    } finally {
      await Promise.all(busy.map((worker) => worker.terminate()));
    }
  },
);

test("one that has a processor whenever it wants does not, whatever was before", async () => {
  const wait = new ProcessorWait();
  const busy = Array.from(
    { length: 2 * availableParallelism() },
    () => new Worker("const end = Date.now() + 10000; while (Date.now() < end);", { eval: true }),
  );
  await Promise.all(busy.map((worker) => new Promise((resolve) => worker.once("online", resolve))));
  spin(100);
  await Promise.all(busy.map((worker) => worker.terminate()));
  wait.share();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(wait.share()).toBeLessThan(0.3);
});
