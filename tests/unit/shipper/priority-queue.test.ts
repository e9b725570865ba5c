import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PriorityQueue, type Entry, type Priority } from "../../../services/shipper/core/priority-queue.ts";

const priorities: readonly Priority[] = [0, 1, 2, 3, 4];

function drain(queue: PriorityQueue<string>): string[] {
  const order: string[] = [];
  for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) order.push(entry.item);
  return order;
}

describe("the queue", () => {
  test("gives faults first, then what the resume waits for", () => {
    const queue = new PriorityQueue<string>();
    for (const priority of [4, 3, 2, 1, 0, 1, 0] as const) queue.push(`${priority}`, priority, 1);
    expect(drain(queue).slice(0, 4)).toEqual(["0", "0", "1", "1"]);
  });

  test("shares the rest by weight, in bytes", () => {
    const queue = new PriorityQueue<Priority>();
    for (const priority of [2, 3, 4] as const) for (let i = 0; i < 2_000; i++) queue.push(priority, priority, 100);
    const got = new Map<Priority, number>();
    for (let i = 0; i < 1_300; i++) {
      const { item } = queue.pop() ?? { item: 0 as const };
      got.set(item, (got.get(item) ?? 0) + 1);
    }
    expect(got.get(2)).toBeCloseTo(800, -1);
    expect(got.get(3)).toBeCloseTo(400, -1);
    expect(got.get(4)).toBeCloseTo(100, -1);
  });

  test("lets a class that was idle save nothing up", () => {
    const queue = new PriorityQueue<Priority>();
    for (let i = 0; i < 1_000; i++) queue.push(3, 3, 100);
    for (let i = 0; i < 500; i++) queue.pop();
    for (let i = 0; i < 100; i++) queue.push(4, 4, 100);
    const next = Array.from({ length: 50 }, () => queue.pop()?.item);
    expect(next.filter((item) => item === 4).length).toBeLessThanOrEqual(11);
    expect(next).toContain(4);
  });

  test("raises what waits, and nothing else", () => {
    const queue = new PriorityQueue<string>();
    queue.push("a", 3, 1);
    const entry = queue.push("b", 3, 1);
    expect(queue.raise(entry, 3)).toBe(false);
    expect(queue.raise(entry, 4)).toBe(false);
    expect(queue.raise(entry, 0)).toBe(true);
    expect(drain(queue)).toEqual(["b", "a"]);
    expect(queue.raise(entry, 0)).toBe(false);
    expect(queue.cancel(entry)).toBe(false);
  });

  test("keeps order and counts through any sequence of operations", () => {
    const operation = fc.oneof(
      fc.record({ kind: fc.constant("push" as const), priority: fc.constantFrom(...priorities), bytes: fc.nat(1_000) }),
      fc.record({ kind: fc.constant("pop" as const) }),
      fc.record({ kind: fc.constant("raise" as const), which: fc.nat(), priority: fc.constantFrom(...priorities) }),
      fc.record({ kind: fc.constant("cancel" as const), which: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const queue = new PriorityQueue<number>();
        // The model: each class a plain list, in the order in which its entries came to it.
        let model: Entry<number>[] = [];
        operations.forEach((each, index) => {
          if (each.kind === "push") model.push(queue.push(index, each.priority, each.bytes));
          else if (each.kind === "pop") {
            const least = Math.min(...model.map(({ priority }) => priority));
            const popped = queue.pop();
            if (model.length === 0) expect(popped).toBeUndefined();
            else if (popped !== undefined) {
              if (least < 2) expect(popped.priority).toBe(least);
              expect(model.find(({ priority }) => priority === popped.priority)).toBe(popped);
            }
            model = model.filter((entry) => entry !== popped);
          } else if (model.length > 0) {
            const entry = model[each.which % model.length];
            if (entry === undefined) return;
            if (each.kind === "cancel") {
              expect(queue.cancel(entry)).toBe(true);
              model = model.filter((other) => other !== entry);
            } else if (queue.raise(entry, each.priority)) model = [...model.filter((other) => other !== entry), entry];
          }
          expect(queue.length).toBe(model.length);
          for (const priority of priorities) {
            const bytes = model
              .filter((entry) => entry.priority === priority)
              .reduce((sum, entry) => sum + entry.bytes, 0);
            expect(queue.bytesOf(priority)).toBe(bytes);
          }
        });
      }),
    );
  });

  test("starves no class: each goes on within a bounded number of turns", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom<Priority>(2, 3, 4), { minLength: 1, maxLength: 30 }), (arrivals) => {
        const queue = new PriorityQueue<string>();
        queue.push("waiting", 4, 100);
        let turns = 0;
        for (;;) {
          // More urgent classes never run dry.
          queue.push("2", 2, 100);
          queue.push("3", arrivals[turns % arrivals.length] === 2 ? 2 : 3, 100);
          turns++;
          if (queue.pop()?.item === "waiting") break;
          expect(turns).toBeLessThan(20);
        }
      }),
    );
  });
});
