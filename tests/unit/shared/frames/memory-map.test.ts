import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameError, frameHeaderBytes, maxPayloadBytes } from "../../../../services/shared/core/frames/frame.ts";
import { decodeMemoryMap, encodeMemoryMap } from "../../../../services/shared/core/frames/memory-map.ts";

const run = fc.record({ page: fc.integer({ min: 0, max: 2 ** 44 }), pages: fc.integer({ min: 1, max: 2 ** 32 - 1 }) });

test("any map comes out as it went in", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 22 }), fc.array(run, { minLength: 1 }), (pid, runs) => {
      const maps = encodeMemoryMap({ pid, runs }).map((frame) => decodeMemoryMap(frame.subarray(frameHeaderBytes)));
      expect(maps).toEqual([{ pid, runs }]);
    }),
  );
});

test("a long map goes in several frames", () => {
  const runs = Array.from({ length: 50_000 }, (_, index) => ({ page: index * 2, pages: 1 }));
  const frames = encodeMemoryMap({ pid: 1, runs });
  for (const frame of frames) expect(frame.length - frameHeaderBytes).toBeLessThanOrEqual(maxPayloadBytes);
  expect(frames.flatMap((frame) => decodeMemoryMap(frame.subarray(frameHeaderBytes)).runs)).toEqual(runs);
});

test.each([
  ["cut within a run", Buffer.alloc(4 + 11)],
  ["without a pid", Buffer.alloc(3)],
  ["with a run of no pages", Buffer.alloc(4 + 12)],
  ["with a run that no memory has", Buffer.from(`01000000${"ff".repeat(8)}01000000`, "hex")],
])("a map is refused: %s", (_what, payload) => {
  expect(() => decodeMemoryMap(payload)).toThrow(FrameError);
});
