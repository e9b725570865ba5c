import { expect, test } from "vitest";
import { findCrowding, needsOf, type Claim } from "../../../services/planner/core/room.ts";
import type { MigrationPhase } from "../../../services/shared/contracts/planner.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const GiB = 1 << 30;
const destination = { ...fakeResources(), memoryAvailableBytes: 10 * GiB, diskFreeBytes: 10 * GiB };

const claim = (phase: MigrationPhase, bytes: Partial<Claim["needs"]>, to = "b"): Claim => ({
  migration: { to, phase },
  needs: { memoryBytes: 0, diskBytes: 0, diskInodes: 0, stateBytes: 0, ...bytes },
});
const crowding = (claims: Claim[], bytes: Partial<Claim["needs"]>): string | undefined =>
  findCrowding(claims, {
    to: "b",
    destination,
    needs: { memoryBytes: 0, diskBytes: 0, diskInodes: 0, stateBytes: 0, ...bytes },
  })?.message;

test("two that fit each by itself do not fit both at once", () => {
  const six = 6 * GiB;
  expect(crowding([], { diskBytes: six })).toBeUndefined();
  expect(crowding([claim("preparing", { diskBytes: six })], { diskBytes: six })).toBe(
    "node b has 10 GiB of disk free, of which migrations under way may need 6 GiB, and 6 GiB are needed; try again when they have ended",
  );
  expect(crowding([claim("preparing", { diskBytes: six })], { diskBytes: 4 * GiB })).toBeUndefined();
  expect(crowding([claim("draining", { memoryBytes: six })], { memoryBytes: six })).toContain("of memory free");
});

test("inodes are counted as room is, where the file system counts them", () => {
  const most = { diskInodes: 600_000 };
  expect(crowding([claim("preparing", most)], most)).toContain("node b has 1000000 inodes free");
  expect(crowding([claim("draining", most)], most)).toBeUndefined();
  const { diskFreeInodes, ...uncounted } = destination;
  expect(diskFreeInodes).toBe(1_000_000);
  const needs = { memoryBytes: 0, diskBytes: 0, stateBytes: 0, ...most };
  expect(findCrowding([claim("preparing", most)], { to: "b", destination: uncounted, needs })).toBeUndefined();
});

test("files that have come, other nodes and migrations of which nothing is known claim nothing", () => {
  const six = { diskBytes: 6 * GiB };
  expect(crowding([claim("draining", six), claim("preparing", six, "c")], six)).toBeUndefined();
  expect(crowding([{ migration: { to: "b", phase: "preparing" }, needs: undefined }], six)).toBeUndefined();
});

test("what lacks room by itself is not put down to others", () => {
  expect(crowding([claim("preparing", { memoryBytes: 1 })], { diskBytes: 11 * GiB })).toBeUndefined();
});

test("stop-and-copy needs memory twice, an image that is there no disk", () => {
  const profile = { ...fakeProfile(), memoryBytes: GiB, imageBytes: GiB };
  const post = needsOf({ profile, mode: "post-copy", shipImage: false });
  const stop = needsOf({ profile, mode: "stop-and-copy", shipImage: true });
  expect(stop.memoryBytes - post.memoryBytes).toBeCloseTo(1.1 * GiB, -2);
  expect(stop.diskBytes - post.diskBytes).toBeCloseTo(1.1 * GiB, -2);
});
