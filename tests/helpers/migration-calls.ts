/** What tests of a planner's failures have in common: the calls there are, and the two ways in which a migration may end. */
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import type { Timing } from "../../services/planner/timing.ts";
import { destinationId, sourceId } from "./fake-world.ts";
import { createTestPlanner, type TestPlanner } from "./test-planner.ts";

export const beforeResume = [
  "a POST /transfers",
  "b POST /receives",
  "a POST /transfers/:id/image",
  "b POST /restores",
  "b PUT /receives/:id/target",
  "a POST /transfers/:id/first-pass",
  "b POST /pagers",
  "b GET /restores/:id",
  "b GET /receives/:id",
  "a POST /checkpoints",
  "a POST /checkpoints/:id/freeze",
  "a POST /checkpoints/:id/dump",
  "a POST /transfers/:id/delta",
  "a POST /transfers/:id/memory",
  "a POST /transfers/:id/images",
  "b POST /pagers/:id/serve",
];
export const afterResume = [
  "b GET /pagers/:id",
  "a POST /checkpoints/:id/commit",
  "b POST /restores/:id/finish",
  "b DELETE /pagers/:id",
  "b DELETE /receives/:id",
  "a DELETE /transfers/:id",
];
export const split = (call: string): ["a" | "b", string] => [call.startsWith("a ") ? "a" : "b", call.slice(2)];

export function expectRolledBack({ world }: TestPlanner): void {
  expect(world.violations).toEqual([]);
  expect(world.a.containers.get(sourceId)).toBe("running");
  expect(world.a.restartPolicy).toBe("always");
  expect(world.b.containers.get(destinationId)).toBeUndefined();
  expect(world.isClean()).toBe(true);
}

export function expectMoved({ world }: TestPlanner): void {
  expect(world.violations).toEqual([]);
  expect(world.a.containers.get(sourceId)).toBe("stopped");
  expect(world.b.containers.get(destinationId)).toBe("running");
  expect(world.b.restartPolicy).toBe("always");
  expect(world.isClean()).toBe(true);
}

/** A planner whose destination lacks the image, so that every call there is takes place. */
export async function planner(timing: Partial<Timing> = {}): Promise<TestPlanner> {
  const created = await createTestPlanner(timing);
  created.world.b.hasImage = false;
  return created;
}

export async function waitFor(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("it never happened");
    await delay(2);
  }
}
