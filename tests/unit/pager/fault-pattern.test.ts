import { expect, test } from "vitest";
import { FaultPattern } from "../../../services/pager/core/fault-pattern.ts";

test("a fault by itself draws in the 64 KiB behind it", () => {
  const pattern = new FaultPattern();
  expect(pattern.next(1000)).toEqual([{ page: 1001, pages: 16 }]);
  expect(pattern.next(90_000)).toEqual([{ page: 90_001, pages: 16 }]);
});

test("a scan is read further and further ahead, up to 1 MiB", () => {
  const pattern = new FaultPattern();
  let page = 1000;
  const sizes: number[] = [];
  for (let fault = 0; fault < 7; fault += 1) {
    const [ahead] = pattern.next(page);
    sizes.push(ahead?.pages ?? 0);
    page += 1 + (ahead?.pages ?? 0);
  }
  expect(sizes).toEqual([16, 32, 64, 128, 256, 256, 256]);
  expect(pattern.next(5)).toEqual([{ page: 6, pages: 16 }]);
});

test("faults at equal distances draw in the next ones, forwards and backwards", () => {
  const pattern = new FaultPattern();
  pattern.next(10_000);
  pattern.next(9_000);
  expect(pattern.next(8_000)).toEqual([
    { page: 8_001, pages: 16 },
    ...[7_000, 6_000, 5_000, 4_000].map((page) => ({ page, pages: 1 })),
  ]);
});

test("never looks below the first page", () => {
  const pattern = new FaultPattern();
  for (const page of [300, 200]) pattern.next(page);
  expect(pattern.next(100)).toEqual([
    { page: 101, pages: 16 },
    { page: 0, pages: 1 },
  ]);
});
