import { describe, expect, test } from "vitest";
import { missingFlags } from "../../../services/planner/core/cpu-flags.ts";
import { findRefusals, isBeneath, type PreflightInput } from "../../../services/planner/core/preflight.ts";
import { compareVersions, parseVersion } from "../../../services/planner/core/versions.ts";
import type { NodeResources } from "../../../services/shared/contracts/common.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const node = (changes: Partial<NodeResources> = {}): NodeResources => ({ ...fakeResources(), ...changes });
const input = (changes: Partial<PreflightInput> = {}): PreflightInput => ({
  from: "a",
  to: "b",
  profile: fakeProfile(),
  source: node(),
  destination: node(),
  mode: "post-copy",
  sharedPaths: [],
  moveBinds: [],
  shipImage: false,
  places: undefined,
  destinationRefusals: [],
  ...changes,
});
const codes = (changes: Partial<PreflightInput>): string[] => findRefusals(input(changes)).map(({ code }) => code);
const withoutCriu = (): NodeResources => {
  const { criuVersion: _criu, ...rest } = fakeResources();
  return rest;
};

test("nothing stands in the way of a plain container between equal nodes", () => {
  expect(findRefusals(input())).toEqual([]);
});

test.each<[string, Partial<PreflightInput>, string[]]>([
  ["same node", { to: "a" }, ["same-node"]],
  [
    "what the profile says",
    { profile: { ...fakeProfile(), refusals: [{ code: "privileged", message: "x" }] } },
    ["privileged"],
  ],
  ["what the restorer says", { destinationRefusals: [{ code: "name-taken", message: "x" }] }, ["name-taken"]],
  ["another architecture", { destination: node({ arch: "arm64" }) }, ["architecture"]],
  ["no CRIU at the source", { source: withoutCriu() }, ["criu-missing"]],
  ["no CRIU anywhere", { source: withoutCriu(), destination: withoutCriu() }, ["criu-missing", "criu-missing"]],
  ["old CRIU", { source: node({ criuVersion: "4.1" }) }, ["criu-too-old"]],
  ["CRIU older at the destination", { source: node({ criuVersion: "4.3" }) }, ["criu-older-at-destination"]],
  ["CRIU newer at the destination", { destination: node({ criuVersion: "5.0" }) }, []],
  ["patch levels", { source: node({ criuVersion: "4.2.9" }), destination: node({ criuVersion: "4.2" }) }, []],
  ["an old kernel", { destination: node({ kernel: "4.9.0-13-amd64" }) }, ["kernel"]],
  [
    "other cgroups",
    { destination: node({ docker: { ...fakeResources().docker, cgroupVersion: "1" } }) },
    ["cgroup-version"],
  ],
  [
    "no runtime",
    { destination: node({ docker: { ...fakeResources().docker, hasDmigrateRuntime: false } }) },
    ["no-runtime"],
  ],
  [
    "images that are kept in another way",
    { destination: node({ docker: { ...fakeResources().docker, imageStore: "containerd" } }) },
    ["image-store"],
  ],
  ["little memory", { destination: node({ memoryAvailableBytes: 70 << 20 }) }, ["memory"]],
  ["few inodes", { destination: node({ diskFreeInodes: 8_300 }) }, ["inodes"]],
  ["inodes enough", { destination: node({ diskFreeInodes: 8_400 }) }, []],
  ["inodes that nobody counts", { destination: node({ diskFreeInodes: undefined }) }, []],
  ["little disk", { destination: node({ diskFreeBytes: 10 << 20 }) }, ["disk"]],
  ["disk without the image", { destination: node({ diskFreeBytes: 100 << 20 }) }, []],
  ["disk with the image", { destination: node({ diskFreeBytes: 100 << 20 }), shipImage: true }, ["disk"]],
  [
    "no room for images",
    { source: node({ stateFreeBytes: 0 }), destination: node({ stateFreeBytes: 0 }) },
    ["state-room", "state-room"],
  ],
])("%s", (_what, changes, expected) => {
  expect(codes(changes)).toEqual(expected);
});

test("everything at once, each with a sentence", () => {
  const refusals = findRefusals(
    input({
      to: "a",
      destination: node({ arch: "arm64", memoryAvailableBytes: 0, diskFreeBytes: 0 }),
      source: withoutCriu(),
    }),
  );
  expect(refusals.map(({ code }) => code)).toEqual(["same-node", "architecture", "criu-missing", "memory", "disk"]);
  for (const { message } of refusals) expect(message.length).toBeGreaterThan(20);
});

describe("CPU flags", () => {
  const cpu = (flags: string[]) => ({ vendor: "GenuineIntel", model: "Old CPU", flags });
  test("those that the destination lacks are listed", () => {
    const [refusal] = findRefusals(input({ destination: node({ cpu: cpu(["fpu"]) }) }));
    expect(refusal?.message).toContain("avx2, sse2");
    expect(refusal?.message).toContain("Old CPU");
  });
  test("those that only a kernel sees do not count, unknown ones do", () => {
    expect(missingFlags(["avx512f", "pti", "ibrs", "vmx", "constant_tsc", "brand_new"], ["fpu"])).toEqual([
      "avx512f",
      "brand_new",
    ]);
  });
});

describe("bind mounts", () => {
  const profile = {
    ...fakeProfile(),
    bindMounts: [
      { source: "/mnt/nfs/data", target: "/data", directory: true },
      { source: "/etc", target: "/etc", directory: true },
    ],
  };
  test("each that is not declared shared is refused", () => {
    expect(codes({ profile })).toEqual(["bind-mount", "bind-mount"]);
    expect(codes({ profile, sharedPaths: ["/mnt/nfs"] })).toEqual(["bind-mount"]);
    expect(codes({ profile, sharedPaths: ["/mnt/nfs/", "/etc"] })).toEqual([]);
  });
  test("one that is to be moved must be a directory of the container's, and not shared as well", () => {
    const moveBinds = ["/mnt/nfs/data"];
    expect(codes({ profile, moveBinds })).toEqual(["bind-mount"]);
    expect(codes({ profile, moveBinds, sharedPaths: ["/etc"] })).toEqual([]);
    expect(codes({ profile, moveBinds, sharedPaths: ["/"] })).toEqual(["move-bind"]);
    expect(codes({ profile, moveBinds: ["/mnt/other"], sharedPaths: ["/"] })).toEqual(["move-bind"]);
    const file = profile.bindMounts.map((mount) => ({ ...mount, directory: false }));
    expect(codes({ profile: { ...profile, bindMounts: file }, moveBinds, sharedPaths: ["/etc"] })).toEqual([
      "move-bind",
    ]);
    const nested = [...profile.bindMounts, { source: "/mnt/nfs", target: "/nfs", directory: true }];
    const both = { profile: { ...profile, bindMounts: nested }, sharedPaths: ["/etc"], moveBinds: ["/mnt/nfs"] };
    expect(codes(both)).toEqual(["bind-mount"]);
    expect(codes({ ...both, moveBinds: ["/mnt/nfs", "/mnt/nfs/data"] })).toEqual(["move-bind"]);
  });
  test("what is refused names both ways out", () => {
    const [refusal] = findRefusals(input({ profile }));
    expect(refusal?.message).toContain("--move-bind /mnt/nfs/data");
    expect(refusal?.message).toContain("--shared-path /mnt/nfs/data");
  });
  test("what cannot be moved is not told to be", () => {
    const file = { source: "/srv/conf", target: "/conf", directory: false };
    const system = { source: "/run/x", target: "/x", directory: true };
    const refusals = findRefusals(input({ profile: { ...profile, bindMounts: [file, system] } }));
    for (const { message } of refusals) {
      expect(message).not.toContain("--move-bind");
      expect(message).toContain("--shared-path");
    }
    expect(refusals).toHaveLength(2);
  });
  test.each([
    ["/a/b", "/a", true],
    ["/a", "/a/", true],
    ["/ab", "/a", false],
    ["/a/../etc", "/a", false],
    ["/a", "/a/b", false],
    ["/a", "/", true],
  ])("%s beneath %s: %s", (path, shared, beneath) => {
    expect(isBeneath(path, shared)).toBe(beneath);
  });
});

test("versions", () => {
  expect(parseVersion("6.18.0-rc3+")).toEqual({ major: 6, minor: 18 });
  expect(parseVersion("v4.2")).toEqual({ major: 4, minor: 2 });
  expect(parseVersion("none")).toBeUndefined();
  const order = ["5.0", "4.10", "4.2.1"]
    .map((text) => parseVersion(text) ?? { major: 0, minor: 0 })
    .sort(compareVersions);
  expect(order.map(({ major, minor }) => `${major}.${minor}`)).toEqual(["4.2", "4.10", "5.0"]);
});
