import { expect, test } from "vitest";
import { parseTag } from "../../../services/shipper/adapters/image.ts";

test.each([
  ["redis", { repo: "redis", tag: "latest" }],
  ["redis:7", { repo: "redis", tag: "7" }],
  ["registry.example:5000/team/app", { repo: "registry.example:5000/team/app", tag: "latest" }],
  ["registry.example:5000/team/app:1.2", { repo: "registry.example:5000/team/app", tag: "1.2" }],
  [`redis@sha256:${"0".repeat(64)}`, undefined],
  [`sha256:${"0".repeat(64)}`, undefined],
  ["3bcdf516b3c7", undefined],
  ["", undefined],
])("the tag of %j", (ref, tag) => {
  expect(parseTag(ref)).toEqual(tag);
});
