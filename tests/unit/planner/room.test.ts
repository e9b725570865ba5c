import { expect, test } from "vitest";
import { findCrowding, needsOf, type Claim, type Needs } from "../../../services/planner/core/room.ts";
import type { MigrationPhase } from "../../../services/shared/contracts/planner.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const GiB = 1 << 30;
const destination = { ...fakeResources(), memoryAvailableBytes: 10 * GiB, diskFreeBytes: 10 * GiB };

const needs = (some: Partial<Needs>): Needs => ({ memoryBytes: 0, disks: [], diskInodes: 0, stateBytes: 0, ...some });
const disk = (neededBytes: number, fileSystem = "1"): Partial<Needs> => ({
  disks: [{ fileSystem, path: `/on/${fileSystem}`, freeBytes: 10 * GiB, neededBytes, parts: [] }],
});
const claim = (phase: MigrationPhase, some: Partial<Needs>, to = "b"): Claim => ({
  migration: { to, phase },
  needs: needs(some),
});
const crowding = (claims: Claim[], some: Partial<Needs>): string | undefined =>
  findCrowding(claims, { to: "b", destination, needs: needs(some) })?.message;

test("two that fit each by itself do not fit both at once", () => {
  const six = 6 * GiB;
  expect(crowding([], disk(six))).toBeUndefined();
  expect(crowding([claim("preparing", disk(six))], disk(six))).toBe(
    "node b has 10 GiB of disk at /on/1 free, of which migrations under way may need 6 GiB, and 6 GiB are needed; try again when they have ended",
  );
  expect(crowding([claim("preparing", disk(six))], disk(4 * GiB))).toBeUndefined();
  expect(crowding([claim("preparing", disk(six, "2"))], disk(six))).toBeUndefined();
  expect(crowding([claim("draining", { memoryBytes: six })], { memoryBytes: six })).toContain("of memory free");
});

test("inodes are counted as room is, where the file system counts them", () => {
  const most = { diskInodes: 600_000 };
  expect(crowding([claim("preparing", most)], most)).toContain("node b has 1000000 inodes free");
  expect(crowding([claim("draining", most)], most)).toBeUndefined();
  const { diskFreeInodes, ...uncounted } = destination;
  expect(diskFreeInodes).toBe(1_000_000);
  const input = { to: "b", destination: uncounted, needs: needs(most) };
  expect(findCrowding([claim("preparing", most)], input)).toBeUndefined();
});

test("files that have come, other nodes and migrations of which nothing is known claim nothing", () => {
  const six = disk(6 * GiB);
  expect(crowding([claim("draining", six), claim("preparing", six, "c")], six)).toBeUndefined();
  expect(crowding([{ migration: { to: "b", phase: "preparing" }, needs: undefined }], six)).toBeUndefined();
});

test("what lacks room by itself is not put down to others", () => {
  expect(crowding([claim("preparing", { memoryBytes: 1 })], disk(11 * GiB))).toBeUndefined();
});

test("stop-and-copy needs memory twice, an image that is there no disk", () => {
  const profile = { ...fakeProfile(), memoryBytes: GiB, imageBytes: GiB };
  const rest = { profile, places: undefined, destination };
  const post = needsOf({ ...rest, mode: "post-copy", shipImage: false });
  const stop = needsOf({ ...rest, mode: "stop-and-copy", shipImage: true });
  expect(stop.memoryBytes - post.memoryBytes).toBeCloseTo(1.1 * GiB, -2);
  const diskBytes = ({ disks }: Needs): number => disks.reduce((sum, { neededBytes }) => sum + neededBytes, 0);
  expect(diskBytes(stop) - diskBytes(post)).toBeCloseTo(1.1 * GiB, -2);
});
