import { expect, test } from "vitest";
import { bindTarget, cleanTarget } from "../../../services/shared/core/mount-target.ts";

test.each([
  ["/data", "/data"],
  ["/data/", "/data"],
  ["//data//x/", "/data/x"],
  ["/data/./x", "/data/x"],
  ["/data/../x", "/x"],
  ["/../x", "/x"],
  ["/", "/"],
])("%s is %s", (written, target) => {
  expect(cleanTarget(written)).toBe(target);
  expect(bindTarget(`source:${written}:ro`)).toBe(target);
  expect(bindTarget(`/from:${written}`)).toBe(target);
});
