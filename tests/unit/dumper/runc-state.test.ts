import { describe, expect, it } from "vitest";
import { parseRuncState } from "../../../services/dumper/core/runc-state.ts";

const state = {
  id: "x",
  config: {
    rootfs: "/var/lib/docker/overlay2/x/merged",
    mounts: [
      { device: "proc", destination: "/proc", source: "proc" },
      { device: "bind", destination: "/etc/hosts", source: "/h" },
    ],
    mask_paths: ["/proc/keys"],
    devices: [{ path: "/dev/null", major: 1 }],
  },
  cgroup_paths: { freezer: "/sys/fs/cgroup/freezer/docker/x", pids: "/sys/fs/cgroup/pids/docker/x" },
  external_descriptors: ["/dev/null", "pipe:[1]", "pipe:[2]"],
};

describe("runc's state of a container", () => {
  it("is read as far as a dump needs it", () => {
    expect(parseRuncState(JSON.stringify(state))).toEqual({
      rootfs: "/var/lib/docker/overlay2/x/merged",
      bindMounts: ["/etc/hosts", "/dev/null"],
      maskPaths: ["/proc/keys"],
      freezerDir: "/sys/fs/cgroup/freezer/docker/x",
      descriptors: ["/dev/null", "pipe:[1]", "pipe:[2]"],
    });
  });

  it("knows the only group of version 2", () => {
    const changed = { ...state, cgroup_paths: { "": "/sys/fs/cgroup/x" } };
    expect(parseRuncState(JSON.stringify(changed)).freezerDir).toBe("/sys/fs/cgroup/x");
  });

  it("takes null for nothing, as Go writes empty lists", () => {
    const config = { ...state.config, mounts: null, mask_paths: null, devices: null };
    expect(parseRuncState(JSON.stringify({ ...state, config, external_descriptors: null }))).toMatchObject({
      bindMounts: [],
      maskPaths: [],
      descriptors: [],
    });
  });

  it.each(["{}", "[]", "no JSON", '{"config":1}'])("refuses %s", (text) => {
    expect(() => parseRuncState(text)).toThrow("runc's state file");
  });
});
