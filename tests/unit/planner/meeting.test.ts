import { expect, test } from "vitest";
import { createMeeting } from "../../../services/planner/meeting.ts";

const MB = 1e6;

/** What is noted when so many bytes had arrived at these times. */
function met(looks: readonly (readonly [ms: number, bytes: number])[]): number[] {
  let now = 0;
  const noted: number[] = [];
  const meeting = createMeeting({
    clock: { now: () => now, epoch: () => 0 },
    links: {
      find: () => undefined,
      isProbeDue: () => false,
      noteMeasured: (_from, _to, bytesPerSecond) => ({ bytesPerSecond, measuredAt: 0 }),
      noteMet: (from, to, bytesPerSecond) => {
        expect([from, to]).toEqual(["a", "b"]);
        noted.push(bytesPerSecond);
      },
    },
    source: { name: "a" },
    destination: { name: "b" },
  });
  for (const [ms, bytes] of looks) {
    now = ms;
    meeting.look(bytes);
  }
  meeting.end();
  return noted;
}

test("the rate from the first bytes on, whenever the counts are brought up to date", () => {
  expect(
    met([
      [0, 0],
      [400, 40 * MB],
      [600, 40 * MB],
      [1400, 140 * MB],
      [2400, 240 * MB],
      [2900, 240 * MB],
    ]),
  ).toEqual([100 * MB]);
});

test("what is short or little says nothing", () => {
  expect(met([])).toEqual([]);
  expect(met([[100, 50 * MB]])).toEqual([]);
  expect(
    met([
      [100, 50 * MB],
      [1_500, 900 * MB],
    ]),
  ).toEqual([]);
  expect(
    met([
      [100, 1 * MB],
      [9_000, 10 * MB],
    ]),
  ).toEqual([]);
});
