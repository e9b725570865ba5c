import { describe, expect, it } from "vitest";
import { formatCpuList, parseCpuList } from "../../../services/restorer/core/cpu-list.ts";
import { limitedDevices } from "../../../services/restorer/core/limited-devices.ts";
import { refuseLimits, type LimitFacts } from "../../../services/restorer/core/refuse-limits.ts";
import type { Refusal } from "../../../services/shared/errors.ts";
import { fakeProfile } from "../../helpers/fake-world.ts";
import { limitFacts } from "../../helpers/limit-facts.ts";

const refusals = (hostConfig: Record<string, unknown>, facts: Partial<LimitFacts> = {}): Refusal[] =>
  refuseLimits({ ...fakeProfile().spec, hostConfig }, { ...limitFacts, ...facts });
const codes = (hostConfig: Record<string, unknown>, facts: Partial<LimitFacts> = {}): string[] =>
  refusals(hostConfig, facts).map(({ code }) => code);

describe("processors", () => {
  it("as many as the destination has are granted, more are not", () => {
    expect(codes({ NanoCpus: 4e9 })).toEqual([]);
    expect(codes({ NanoCpus: 0 })).toEqual([]);
    const [refusal] = refusals({ NanoCpus: 4.5e9 });
    expect(refusal?.code).toBe("cpus");
    expect(refusal?.message).toMatch(/web may use 4.5 CPUs .* has 4: .*docker update --cpus 4 web/);
    expect(codes({ NanoCpus: 9e9 }, { cpus: undefined })).toEqual([]);
  });

  it("by number must be there, and those that both have are advised", () => {
    expect(codes({ CpusetCpus: "0,2-3", CpusetMems: "0" })).toEqual([]);
    const [refusal] = refusals({ CpusetCpus: "2-5" });
    expect(refusal?.code).toBe("cpuset");
    expect(refusal?.message).toMatch(/CPUs 2-5 \(--cpuset-cpus\), .* has 0-3: .*docker update --cpuset-cpus 2-3 web/);
    expect(refusals({ CpusetCpus: "6" })[0]?.message).toContain("docker update --cpuset-cpus 0-3 web");
  });

  it("are not judged where the kernel does not say what there is, nor by a list that we cannot read", () => {
    expect(codes({ CpusetCpus: "99", CpusetMems: "9" }, { cpuset: { cpus: undefined, mems: undefined } })).toEqual([]);
    expect(codes({ CpusetCpus: "0-x" })).toEqual([]);
  });

  it("memory nodes are by number too", () => {
    expect(refusals({ CpusetMems: "0-1" })[0]?.message).toContain("docker update --cpuset-mems 0 web");
  });
});

it.each([
  ["MemoryLimit", { Memory: 1 << 20 }],
  ["CpuCfsQuota", { NanoCpus: 1e9 }],
  ["CpuCfsQuota", { CpuQuota: 50_000 }],
  ["CPUShares", { CpuShares: 512 }],
  ["CPUSet", { CpusetCpus: "0" }],
  ["PidsLimit", { PidsLimit: 100 }],
  ["OomKillDisable", { OomKillDisable: true }],
] as const)("a kernel without %s cannot hold a container to %o", (limit, hostConfig) => {
  expect(codes(hostConfig, { lackingLimits: [limit] })).toEqual(["kernel-limit"]);
  expect(codes(hostConfig)).toEqual([]);
  const unset = { Memory: 0, CpuQuota: 0, CpuShares: 0, CpusetCpus: "", PidsLimit: null, OomKillDisable: false };
  expect(codes(unset, { lackingLimits: [limit] })).toEqual([]);
});

it("a control group of its own must be a slice where systemd keeps them", () => {
  expect(codes({ CgroupParent: "/mine" }, { cgroupDriver: "systemd" })).toEqual(["cgroup-parent"]);
  expect(codes({ CgroupParent: "mine.slice" }, { cgroupDriver: "systemd" })).toEqual([]);
  expect(codes({ CgroupParent: "" }, { cgroupDriver: "systemd" })).toEqual([]);
  expect(codes({ CgroupParent: "/mine" })).toEqual([]);
});

it("a control group of version 2 must have a path that CRIU can be told", () => {
  for (const parent of ["mine", "/with space", "/../mine"])
    expect(codes({ CgroupParent: parent }, { cgroupVersion: "2" })).toEqual(["cgroup-parent"]);
  expect(codes({ CgroupParent: "/mine" }, { cgroupVersion: "2" })).toEqual([]);
  expect(codes({ CgroupParent: "mine" }, { cgroupVersion: "1" })).toEqual([]);
});

it("devices that limits name must be there", () => {
  const limit = { Path: "/dev/sda", Rate: 1 };
  const hostConfig = { BlkioDeviceReadBps: [limit], BlkioWeightDevice: [limit, { Path: "/dev/sdb", Weight: 10 }] };
  expect(limitedDevices(hostConfig).sort()).toEqual(["/dev/sda", "/dev/sdb"]);
  expect(limitedDevices({ BlkioDeviceReadBps: null })).toEqual([]);
  expect(refusals({}, { absentDevices: ["/dev/sdb"] })[0]?.message).toContain("/dev/sdb");
});

it("lists are read and written as the kernel does", () => {
  expect(parseCpuList("0-2,8,10-11\n")).toEqual([0, 1, 2, 8, 10, 11]);
  expect(parseCpuList("3, 1-2,2")).toEqual([1, 2, 3]);
  expect(parseCpuList("")).toEqual([]);
  for (const wrong of ["a", "3-1", "1-", "0-99999", "-1"]) expect(parseCpuList(wrong)).toBeUndefined();
  expect(formatCpuList([0, 1, 2, 8, 10, 11])).toBe("0-2,8,10-11");
});
