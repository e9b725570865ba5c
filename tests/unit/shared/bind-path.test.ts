import { describe, expect, test } from "vitest";
import { bindPathProblem } from "../../../services/shared/core/bind-path.ts";

describe("a directory that a bind mount may be moved to", () => {
  test.each(["/data", "/srv/db", "/home/user/files", "/var/lib/postgres", "/opt/a b", "/var/lib/dockerish"])(
    "%s may be",
    (path) => expect(bindPathProblem(path)).toBeUndefined(),
  );
  test.each(["/etc/x", "/usr", "/proc/1", "/var/lib/docker/volumes/x", "/run/dmigrate", "/srv", "/home", "/var/lib"])(
    "%s belongs to the system",
    (path) => expect(bindPathProblem(path)).toMatch(/system/),
  );
  test.each(["", "/", "data", "/a/../etc", "/a//b", "/a/", "/a/./b", "/a\0b"])("%j is no plain path", (path) =>
    expect(bindPathProblem(path)).toBe("is not a plain absolute path"),
  );
});
