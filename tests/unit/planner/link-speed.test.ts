import { expect, test } from "vitest";
import { isProbeDue, linkSpeed, meet, type MeasuredLink } from "../../../services/planner/core/link-speed.ts";
import { fakeResources } from "../../helpers/fake-world.ts";

const minute = 60_000;
const at = 1_000_000 * minute;
const measured: MeasuredLink = { bytesPerSecond: 117.5e6, measuredAt: at };
const ends = (sourceMbit?: number, destinationMbit?: number) => ({
  from: "a",
  to: "b",
  source: { ...fakeResources(), ...(sourceMbit !== undefined && { linkMbitPerSecond: sourceMbit }) },
  destination: { ...fakeResources(), ...(destinationMbit !== undefined && { linkMbitPerSecond: destinationMbit }) },
});

test.each<[string, MeasuredLink | undefined, number, number | undefined, string]>([
  ["just measured", measured, at + 1, 117.5e6, "link a -> b: 940 Mbit/s, measured just now"],
  ["some minutes ago", measured, at + 3.9 * minute, 117.5e6, "link a -> b: 940 Mbit/s, measured 3 minutes ago"],
  ["an hour ago", measured, at + 61 * minute, 117.5e6, "link a -> b: 940 Mbit/s, measured 1 hour ago"],
  [
    "another speed was met since",
    { ...measured, metBytesPerSecond: 25e6 },
    at + 2 * minute,
    25e6,
    "link a -> b: 200 Mbit/s, met by the last migration; 940 Mbit/s, measured 2 minutes ago",
  ],
  [
    "never measured",
    undefined,
    at,
    1.25e9,
    "link a -> b: 10 Gbit/s by what the interfaces say; a migration of 32 MiB or more measures it",
  ],
])("%s", (_what, link, now, bytesPerSecond, reason) => {
  expect(linkSpeed(ends(10_000, 40_000), link, now)).toEqual({ bytesPerSecond, reason });
});

test("of a link that nothing is known of nothing is claimed", () => {
  const { bytesPerSecond, reason } = linkSpeed(ends(undefined, 0), undefined, at);
  expect(bytesPerSecond).toBeUndefined();
  expect(reason).toContain("unknown");
});

test("a probe is due without one, with an old one, one of another clock, and after another speed was met", () => {
  expect(isProbeDue(undefined, at)).toBe(true);
  expect(isProbeDue(measured, at)).toBe(false);
  expect(isProbeDue(measured, at + 10 * minute)).toBe(false);
  expect(isProbeDue(measured, at + 10 * minute + 1)).toBe(true);
  expect(isProbeDue(measured, at - 1)).toBe(true);
  expect(isProbeDue({ ...measured, metBytesPerSecond: 1e6 }, at)).toBe(true);
});

test("what is met counts when it is another speed altogether, and no longer than until it is not", () => {
  expect(meet(measured, 60e6)).toEqual(measured);
  expect(meet(measured, 230e6)).toEqual(measured);
  const slower = meet(measured, 50e6);
  expect(slower).toEqual({ ...measured, metBytesPerSecond: 50e6 });
  expect(meet(slower, 110e6)).toEqual(measured);
  expect(meet(measured, 300e6).metBytesPerSecond).toBe(300e6);
});
