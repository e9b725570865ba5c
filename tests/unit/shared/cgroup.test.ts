import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openFreezer } from "../../../services/shared/adapters/cgroup.ts";
import { parseStatus, strangersTo } from "../../../services/shared/adapters/processes.ts";
import { findControllerMount, locateCgroup } from "../../../services/shared/core/cgroup-path.ts";

describe("findControllerMount", () => {
  const v2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  const v1 = "31 24 0:27 /docker/x /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
  it("prefers the hierarchy that has the controller by itself", () => {
    expect(findControllerMount("cpuset", v2 + v1)).toEqual({ version: 1, dir: "/sys/fs/cgroup/cpuset" });
    expect(findControllerMount("memory", v2 + v1)).toEqual({ version: 2, dir: "/sys/fs/cgroup" });
    expect(findControllerMount("memory", v1)).toBeUndefined();
  });
});

describe("locateCgroup", () => {
  const v1 = "6:freezer:/docker/node/docker/c1\n5:memory,cpu:/docker/node/docker/c1\n0::/docker/node\n";
  const nested =
    "179 173 0:34 /docker/node /sys/fs/cgroup/freezer rw,nosuid - cgroup cgroup rw,freezer\n" +
    "177 173 0:32 /docker/node /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,cpu\n";
  it("finds a version 1 group of which only a part is mounted", () => {
    expect(locateCgroup("freezer", v1, nested)).toEqual({ version: 1, dir: "/sys/fs/cgroup/freezer/docker/c1" });
    expect(locateCgroup("memory", v1, nested)).toEqual({ version: 1, dir: "/sys/fs/cgroup/memory/docker/c1" });
  });
  it("finds a version 2 group, with optional mount fields and escaped paths", () => {
    const mounts = "30 24 0:26 / /sys/fs/c\\040g rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const dir = "/sys/fs/c g/system.slice/docker-c1.scope";
    expect(locateCgroup("freezer", "0::/system.slice/docker-c1.scope\n", mounts)).toEqual({ version: 2, dir });
  });
  it("is the mount itself for its root", () => {
    expect(locateCgroup("freezer", "6:freezer:/docker/node\n", nested)?.dir).toBe("/sys/fs/cgroup/freezer");
  });
  it("finds nothing outside of what is mounted", () => {
    expect(locateCgroup("freezer", "6:freezer:/docker/nodes\n", nested)).toBeUndefined();
    expect(locateCgroup("freezer", "6:freezer:/docker/node/../other\n", nested)).toBeUndefined();
    expect(locateCgroup("freezer", "0::/x\n", nested)).toBeUndefined();
    expect(locateCgroup("freezer", "", "")).toBeUndefined();
  });
});

describe("freezer", () => {
  let dir: string;
  beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "cgroup-"))));
  afterEach(() => rmSync(dir, { recursive: true }));

  it("speaks version 1", async () => {
    writeFileSync(join(dir, "freezer.state"), "THAWED\n");
    const freezer = openFreezer(1, dir);
    expect(freezer.state()).toBe("thawed");
    await freezer.freeze({ timeoutMs: 1000 });
    expect(freezer.state()).toBe("frozen");
    freezer.thaw();
    expect(readFileSync(join(dir, "freezer.state"), "utf8")).toBe("THAWED");
  });

  it("speaks version 2, and thaws again when the freeze takes too long", async () => {
    writeFileSync(join(dir, "cgroup.freeze"), "0\n");
    writeFileSync(join(dir, "cgroup.events"), "populated 1\nfrozen 0\n");
    const freezer = openFreezer(2, dir);
    await expect(freezer.freeze({ timeoutMs: 30 })).rejects.toThrow(/did not freeze within 30 ms/);
    expect(freezer.state()).toBe("thawed");
    writeFileSync(join(dir, "cgroup.events"), "populated 1\nfrozen 1\n");
    await freezer.freeze({ timeoutMs: 1000 });
    expect(freezer.state()).toBe("frozen");
  });

  it("counts the processes of nested groups, without those it cannot see", () => {
    mkdirSync(join(dir, "inner"));
    writeFileSync(join(dir, "cgroup.procs"), "12\n0\n");
    writeFileSync(join(dir, "inner", "cgroup.procs"), "34\n");
    expect(openFreezer(1, dir).processes()).toEqual([12, 34]);
  });

  it("takes a group that is gone as thawed and empty", () => {
    const freezer = openFreezer(1, join(dir, "gone"));
    expect(freezer.exists()).toBe(false);
    expect(freezer.processes()).toEqual([]);
    expect(() => freezer.thaw()).not.toThrow();
  });
});

describe("processes", () => {
  const status = [
    "Name:\tredis server\nx",
    "State:\tS (sleeping)",
    "PPid:\t234",
    "TracerPid:\t9",
    "NSpid:\t256\t20\t1",
    "RssAnon:\t    1024 kB",
    "RssFile:\t    9999 kB",
    "RssShmem:\t       4 kB",
    "VmSwap:\t       0 kB",
    "VmLck:\t       8 kB",
    "HugetlbPages:\t    2048 kB",
  ].join("\n");
  it("reads the pid in the innermost namespace, and memory that is not file cache", () => {
    expect(parseStatus(256, status)).toEqual({
      hostPid: 256,
      parent: 234,
      innerPid: 1,
      state: "S",
      tracer: 9,
      memoryBytes: 1028 * 1024,
      privateBytes: 1024 * 1024,
      eagerBytes: 2056 * 1024,
    });
  });
  it("takes a kernel without NSpid as one namespace", () => {
    expect(parseStatus(5, "State:\tR\nPPid:\t1\n").innerPid).toBe(5);
  });

  const process = (hostPid: number, parent: number) => ({ ...parseStatus(hostPid, status), parent });
  it("tells descendants from strangers", () => {
    const tree = [process(10, 3), process(11, 10), process(12, 11), process(20, 3), process(21, 20)];
    expect(strangersTo(10, tree).map(({ hostPid }) => hostPid)).toEqual([20, 21]);
  });
  it("ends on a ring", () => {
    expect(strangersTo(1, [process(5, 6), process(6, 5)])).toHaveLength(2);
  });
});
