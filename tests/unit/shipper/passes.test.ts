import { expect, test } from "vitest";
import { isPassDue } from "../../../services/shipper/core/passes.ts";

const pass = (ms: number, megabytes: number) => ({ ms, bytes: megabytes * 1e6 });

test("files are sent once more after a pass that took long", () => {
  expect(isPassDue([pass(2_000, 300)])).toBe(true);
  expect(isPassDue([pass(100, 300)])).toBe(false);
  expect(isPassDue([])).toBe(true);
});

test("and again as long as that leaves less and less", () => {
  expect(isPassDue([pass(24_000, 300), pass(2_000, 24)])).toBe(true);
  expect(isPassDue([pass(24_000, 300), pass(200, 2)])).toBe(false);
  expect(isPassDue([pass(24_000, 300), pass(20_000, 250)])).toBe(false);
});

test("but not for ever", () => {
  expect(isPassDue([pass(24_000, 300), pass(8_000, 100), pass(4_000, 40), pass(2_000, 15)])).toBe(false);
});
