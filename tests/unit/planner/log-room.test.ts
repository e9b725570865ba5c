import { expect, test } from "vitest";
import { planLogRoom } from "../../../services/planner/core/log-room.ts";
import { logFileBytes } from "../../../services/restorer/adapters/log-room.ts";

const MiB = 1 << 20;
const files = { writableLayerBytes: 0, volumeBytes: 0 };

test.each([
  ["a quiet one: a little", { ...files, log: { bytes: 1000, rotatedBytes: 0, bytesPerSecond: 0 } }, MiB / 4],
  ["twice what comes in ten seconds", { ...files, log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: MiB } }, 20 * MiB],
  [
    "more while many files are copied",
    { writableLayerBytes: 2500 * MiB, volumeBytes: 0, log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: MiB / 8 } },
    27.5 * MiB,
  ],
  ["no end of it: 256 MiB", { ...files, log: { bytes: 0, rotatedBytes: 0, bytesPerSecond: 1e9 } }, 256 * MiB],
])("%s", (_what, profile, roomBytes) => {
  expect(planLogRoom(profile).log).toEqual({ bytes: profile.log.bytes, roomBytes });
});

test("none, and a reason, where Docker keeps none", () => {
  expect(planLogRoom(files)).toEqual({ reason: "the log stays behind: Docker does not keep it by json-file" });
});

test("the file is longer than the log by half of what its limit leaves, at most", () => {
  expect(logFileBytes({ bytes: 100, roomBytes: 50 })).toBe(150);
  expect(logFileBytes({ bytes: 100, roomBytes: 50 }, 1000)).toBe(150);
  expect(logFileBytes({ bytes: 100, roomBytes: 5000 }, 1000)).toBe(550);
  expect(logFileBytes({ bytes: 1100, roomBytes: 5000 }, 1000)).toBe(1100);
});
