import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { ProcessorWait } from "../../../services/pager/adapters/processor-wait.ts";

const spin = (ms: number): void => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

test("a thread that shares its processors with more threads than there are waits for a good part of the time", async () => {
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
});

test("what was said once is not said again", () => {
  const wait = new ProcessorWait();
  spin(20);
  wait.share();
  // It has hardly run since, and what it had to wait for in that time is a part of it.
  expect(wait.share()).toBeLessThanOrEqual(1);
  expect(wait.share()).toBeGreaterThanOrEqual(0);
});
