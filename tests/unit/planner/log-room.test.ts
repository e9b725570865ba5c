import { describe, expect, test } from "vitest";
import { planLogRoom } from "../../../services/planner/core/log-room.ts";
import { logFileBytes } from "../../../services/restorer/adapters/log-room.ts";

const MiB = 1 << 20;
const files = { writableLayerBytes: 0, volumeBytes: 0 };

test.each([
  [
    "a quiet one: a little",
    { ...files, log: { bytes: 1000, rotatedBytes: 0, bytesPerSecond: 0, limited: false } },
    MiB / 4,
  ],
  [
    "twice what comes in ten seconds",
    { ...files, log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: MiB, limited: false } },
    20 * MiB,
  ],
  [
    "more while many files are copied",
    {
      writableLayerBytes: 2500 * MiB,
      volumeBytes: 0,
      log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: MiB / 8, limited: false },
    },
    27.5 * MiB,
  ],
  [
    "no end of it: 256 MiB",
    { ...files, log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: 1e9, limited: false } },
    256 * MiB,
  ],
])("%s", (_what, profile, roomBytes) => {
  expect(planLogRoom(profile).log).toEqual({ bytes: profile.log.bytes, roomBytes, limited: false });
});

test("none, and a reason, where Docker keeps none", () => {
  expect(planLogRoom(files)).toEqual({
    reason: "the log stays behind: Docker does not keep it by json-file in a file of its own",
  });
});

describe("the file is longer than the log", () => {
  const bytesOf = (bytes: number, roomBytes: number, maxBytes: number | undefined, maxFiles: number): number =>
    logFileBytes({ bytes, roomBytes, limited: maxBytes !== undefined }, { maxBytes, maxFiles, compress: false });

  test.each([
    ["by the room, where it has no limit", [100, 50, undefined, 1], 150],
    ["by half of what its limit leaves, where Docker throws it away then", [100, 5000, 1000, 1], 550],
    ["by the room, if that is less", [100, 50, 1000, 1], 150],
    ["by nothing, at the limit", [1100, 5000, 1000, 1], 1100],
    ["to beyond its limit, where Docker keeps it all the same", [100, 1 << 20, 1000, 3], 1000 + (128 << 10)],
    ["by the room, if that is less, there too", [100, 50, 1000, 3], 150],
  ] as const)("%s", (_what, [bytes, roomBytes, maxBytes, maxFiles], expected) => {
    expect(bytesOf(bytes, roomBytes, maxBytes, maxFiles)).toBe(expected);
  });
});
