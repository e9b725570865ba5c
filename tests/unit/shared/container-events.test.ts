import { expect, test } from "vitest";
import { readEnd } from "../../../services/shared/core/container-events.ts";
import { isRestarted } from "../../../services/shared/core/restart-policy.ts";

const event = (Action: string, Attributes: Record<string, string> = {}): string =>
  JSON.stringify({ Type: "container", Action, Actor: { ID: "x", Attributes } });

test.each<[string, string[], boolean, number | undefined]>([
  ["nothing", [], false, undefined],
  ["an end by itself", [event("die", { exitCode: "137" })], false, 137],
  ["a reload, then an end", [event("kill", { signal: "1" }), event("die", { exitCode: "1" })], false, 1],
  ["docker stop", [event("kill", { signal: "15" }), event("die", { exitCode: "0" }), event("stop")], true, 0],
  ["docker kill", [event("kill", { signal: "9" }), event("die", { exitCode: "137" })], true, 137],
  ["what is no event", ["nonsense", "{}", event("die", { exitCode: "2" })], false, 2],
])("%s", (_what, lines, stopped, exitCode) => {
  expect(readEnd(`${lines.join("\n")}\n`)).toEqual({ stopped, exitCode });
});

test.each([
  ["always", 0, true],
  ["unless-stopped", 0, true],
  ["on-failure", 0, false],
  ["on-failure", 1, true],
  ["no", 1, false],
  ["", 1, false],
])("by the policy %j a container that has ended with %d is started: %s", (Name, exitCode, expected) => {
  expect(isRestarted({ Name }, exitCode)).toBe(expected);
});
