import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameError } from "../../../services/shared/core/frames/frame.ts";
import { maxEarlyFrames } from "../../../services/shared/core/frames/job-message.ts";
import { Arrivals } from "../../../services/shipper/core/arrivals.ts";

test("frames come out once each, in order, whatever order and how often they came in", () => {
  const order = fc
    .integer({ min: 1, max: 50 })
    .chain((count) =>
      fc.tuple(
        fc.shuffledSubarray([...Array(count).keys()], { minLength: count }),
        fc.array(fc.nat(count - 1), { maxLength: 20 }),
      ),
    );
  fc.assert(
    fc.property(order, fc.nat(), ([numbers, again], seed) => {
      const arrivals = new Arrivals<number>();
      const out: number[] = [];
      const all = [...numbers];
      again.forEach((number, at) => all.splice((seed + at * 31) % (all.length + 1), 0, number));
      for (const number of all) {
        const isNew = number >= arrivals.next && !arrivals.early.includes(number);
        expect(arrivals.put(number, number)).toBe(isNew);
        for (let frame = arrivals.take(); frame !== undefined; frame = arrivals.take()) out.push(frame);
        expect(arrivals.next).toBe(out.length);
      }
      expect(out).toEqual([...numbers].sort((a, b) => a - b));
      expect(arrivals.early).toEqual([]);
    }),
  );
});

test("a source that leaves one frame out is not let to send without end", () => {
  const arrivals = new Arrivals<number>();
  for (let number = 1; number <= maxEarlyFrames; number++) arrivals.put(number, number);
  expect(() => arrivals.put(maxEarlyFrames + 1, 0)).toThrow(FrameError);
});
