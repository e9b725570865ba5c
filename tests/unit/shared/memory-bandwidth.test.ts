import { expect, test } from "vitest";
import { measureMemoryBandwidth } from "../../../services/shared/adapters/memory-bandwidth.ts";

test("memory is faster than a disk, and slower than the processor's caches", () => {
  const bytesPerSecond = measureMemoryBandwidth();
  expect(bytesPerSecond).toBeGreaterThan(1e8);
  expect(bytesPerSecond).toBeLessThan(1e12);
});
