import { expect, test } from "vitest";
import { FaultPattern } from "../../../services/pager/core/fault-pattern.ts";

test("a fault by itself draws in the 256 KiB block around it, first what is behind it, and 64 KiB in any case", () => {
  const pattern = new FaultPattern();
  expect(pattern.next(64 * 10 + 20)).toEqual([
    { page: 661, pages: 43 },
    { page: 640, pages: 20 },
  ]);
  expect(pattern.next(64 * 1000)).toEqual([{ page: 64_001, pages: 63 }]);
  expect(pattern.next(64 * 2000 + 63)).toEqual([
    { page: 128_064, pages: 16 },
    { page: 128_000, pages: 63 },
  ]);
});

test("a scan is read further and further ahead, up to 1 MiB", () => {
  const pattern = new FaultPattern();
  let page = 64 * 20 - 1;
  const sizes: number[] = [];
  for (let fault = 0; fault < 7; fault += 1) {
    const [ahead] = pattern.next(page);
    sizes.push(ahead?.pages ?? 0);
    page += 1 + (ahead?.pages ?? 0);
  }
  expect(sizes[0]).toBe(16);
  expect(sizes.slice(-3)).toEqual([256, 256, 256]);
  for (const [at, size] of sizes.slice(1).entries()) expect(size).toBeGreaterThanOrEqual(sizes[at] ?? 0);
  expect(pattern.next(63)).toEqual([
    { page: 64, pages: 16 },
    { page: 0, pages: 63 },
  ]);
});

test("faults at equal distances draw in the next ones, forwards and backwards", () => {
  const pattern = new FaultPattern();
  pattern.next(10_000);
  pattern.next(9_000);
  expect(pattern.next(8_000)).toEqual([
    { page: 8_001, pages: 63 },
    ...[7_000, 6_000, 5_000, 4_000].map((page) => ({ page, pages: 1 })),
  ]);
});

test("never looks below the first page", () => {
  const pattern = new FaultPattern();
  for (const page of [300, 200]) pattern.next(page);
  expect(pattern.next(100)).toEqual([
    { page: 101, pages: 27 },
    { page: 64, pages: 36 },
    { page: 0, pages: 1 },
  ]);
});
