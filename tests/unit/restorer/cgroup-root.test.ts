import { expect, test } from "vitest";
import { cgroupRootOf } from "../../../services/restorer/core/cgroup-root.ts";

test.each([
  ["/docker/0123", "/docker/0123"],
  ["/mine/0123", "/mine/0123"],
  ["system.slice:docker:0123", "/system.slice/docker-0123.scope"],
  [":docker:0123", "/system.slice/docker-0123.scope"],
  ["a-b-c.slice:docker:0123", "/a.slice/a-b.slice/a-b-c.slice/docker-0123.scope"],
  ["-.slice:docker:0123", "/docker-0123.scope"],
])("of %s it is %s", (cgroupsPath, root) => {
  expect(cgroupRootOf(cgroupsPath)).toBe(root);
});

test.each(["", "docker/0123", "a:b", "a:b:c:d", "/with space/0123", "/docker/../0123", "/docker/0123\nlog-file x"])(
  "%j is refused",
  (cgroupsPath) => {
    expect(() => cgroupRootOf(cgroupsPath)).toThrow(/no path that CRIU could be told/);
  },
);
