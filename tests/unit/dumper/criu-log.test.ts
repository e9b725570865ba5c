import { describe, expect, it } from "vitest";
import { firstCriuError } from "../../../services/dumper/core/criu-log.ts";
import { isHealthProbe } from "../../../services/dumper/core/health-probe.ts";
import { isAtLeast } from "../../../services/dumper/core/version.ts";

describe("first error of CRIU", () => {
  it("passes over the one that CRIU lives with", () => {
    const log = [
      "(00.004809) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted",
      "(00.1) Warn  (criu/x.c:1): something",
      "(00.2) Error (criu/files-ext.c:98): Can't dump file 5 of that type [600] (unknown anon_inode:[io_uring])",
      "(00.3) Error (criu/cr-dump.c:2117): Dumping FAILED.",
    ].join("\n");
    expect(firstCriuError(log)).toBe("Can't dump file 5 of that type [600] (unknown anon_inode:[io_uring])");
  });
  it("finds none in a log without errors", () => {
    expect(firstCriuError("(00.1) Dumping finished successfully\n")).toBeUndefined();
  });
});

describe("health probe", () => {
  const shell = { entrypoint: "/bin/sh", arguments: ["-c", "redis-cli ping"] };
  it("is known by its command", () => {
    expect(isHealthProbe(shell, ["CMD-SHELL", "redis-cli ping"])).toBe(true);
    expect(isHealthProbe({ entrypoint: "redis-cli", arguments: ["ping"] }, ["CMD", "redis-cli", "ping"])).toBe(true);
  });
  it("is nothing else", () => {
    expect(isHealthProbe(shell, ["CMD-SHELL", "redis-cli info"])).toBe(false);
    expect(isHealthProbe(shell, ["NONE"])).toBe(false);
    expect(isHealthProbe(shell, undefined)).toBe(false);
    expect(isHealthProbe({ entrypoint: "ping", arguments: [] }, ["CMD-SHELL", "ping"])).toBe(false);
  });
});

describe("version", () => {
  it("compares numbers, not letters", () => {
    const least = [4, 2] as const;
    expect(["4.2", "4.2.1", "4.10", "5.0", "v4.2-rc1"].every((version) => isAtLeast(version, least))).toBe(true);
    expect(["4.1.1", "3.19", "unknown", ""].some((version) => isAtLeast(version, least))).toBe(false);
  });
});
