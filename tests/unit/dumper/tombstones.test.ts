import { describe, expect, it } from "vitest";
import { createTombstones } from "../../../services/dumper/core/tombstones.ts";

describe("tombstones", () => {
  it("knows what was added", () => {
    const tombstones = createTombstones();
    tombstones.add("a", 0);
    expect([tombstones.has("a"), tombstones.has("b")]).toEqual([true, false]);
  });
  it("forgets the oldest of more than a thousand, counting from the last abort", () => {
    const tombstones = createTombstones();
    for (let i = 0; i < 1000; i += 1) tombstones.add(`m${i}`, i);
    tombstones.add("m0", 1000);
    tombstones.add("one more", 1001);
    expect([tombstones.has("m0"), tombstones.has("m1"), tombstones.has("m2")]).toEqual([true, false, true]);
  });
  it("forgets after a day", () => {
    const tombstones = createTombstones();
    tombstones.add("a", 0);
    tombstones.add("b", 24 * 60 * 60 * 1000);
    expect([tombstones.has("a"), tombstones.has("b")]).toEqual([false, true]);
  });
});
