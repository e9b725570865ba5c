import { expect, test } from "vitest";
import { allowedSwapBytes, findBeyondLimit } from "../../../services/planner/core/memory-limit.ts";
import { findRefusals } from "../../../services/planner/core/preflight.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const MiB = 1 << 20;
const Memory = 300 * MiB;
const profileOf = (memoryMiB: number, hostConfig: Record<string, unknown>) => ({
  ...fakeProfile(),
  memoryBytes: memoryMiB * MiB,
  spec: { ...fakeProfile().spec, hostConfig },
});
const refused = (memoryMiB: number, hostConfig: Record<string, unknown>, swapFreeMiB: number): boolean => {
  const destination = { swapFreeBytes: swapFreeMiB * MiB };
  return findBeyondLimit({ profile: profileOf(memoryMiB, hostConfig), to: "b", destination }).length > 0;
};

test("without a limit nothing is beyond it", () => {
  expect(refused(9_999, { Memory: 0, MemorySwap: 0 }, 0)).toBe(false);
  expect(refused(9_999, {}, 0)).toBe(false);
});

test.each([
  ["as much swap as memory, when it is not set", 0, 300],
  ["what memory and swap together leave", 400 * MiB, 100],
  ["none, when both are equal", 300 * MiB, 0],
  ["what the node has, when there is no limit of it", -1, 1_000],
])("the limit holds for memory and swap: %s", (_what, MemorySwap, swapMiB) => {
  expect(refused(300 + swapMiB, { Memory, MemorySwap }, 1_000)).toBe(false);
  expect(refused(301 + swapMiB, { Memory, MemorySwap }, 1_000)).toBe(true);
});

test("swap that the destination has not got is none", () => {
  expect(refused(350, { Memory, MemorySwap: -1 }, 49)).toBe(true);
  expect(refused(350, { Memory, MemorySwap: -1 }, 50)).toBe(false);
  expect(refused(300, { Memory, MemorySwap: -1 }, 0)).toBe(false);
  expect(refused(301, { Memory, MemorySwap: -1 }, 0)).toBe(true);
});

test("a container that must not swap may use none", () => {
  expect(allowedSwapBytes({ Memory, MemorySwap: -1, MemorySwappiness: 0 })).toBe(0);
  expect(allowedSwapBytes({ Memory, MemorySwap: -1, MemorySwappiness: null })).toBe(Infinity);
});

test("the refusal is one of the plan's, and says what there is", () => {
  const profile = profileOf(500, { Memory, MemorySwap: 400 * MiB });
  const node = { ...fakeResources(), swapFreeBytes: 50 * MiB };
  const ends = { from: "a", to: "b", source: fakeResources(), destination: node };
  const rest = { sharedPaths: [], moveBinds: [], shipImage: false, places: undefined, destinationRefusals: [] };
  const refusals = findRefusals({ ...ends, ...rest, profile, mode: "post-copy" });
  expect(refusals.map(({ code }) => code)).toEqual(["memory-limit"]);
  expect(refusals[0]?.message).toMatch(
    /500 MiB on node b, .* 300 MiB of memory and 50 MiB of swap .*limit of that is 100 MiB, and node b has 50 MiB free/,
  );
});
