import { expect, test } from "vitest";
import {
  criuRestoreConfig,
  mendBundleConfig,
  networkHook,
  networkSysctls,
  parseBundleConfig,
  rootOf,
  settingsOf,
} from "../../../services/restorer/core/bundle-config.ts";

const setKey = { path: "/proc/11/exe", args: ["libnetwork-setkey", "-exec-root=/var/run/docker", "id", "ctl"] };
const text = (hooks: unknown, network: object = { type: "network" }): string =>
  `{"process":{"rlimits":[{"hard":18446744073709551615,"soft":1.50}]},"hooks":${JSON.stringify(hooks)},` +
  `"linux":{"namespaces":[{"type":"pid"},${JSON.stringify(network)}],"sysctl":{"net.ipv4.ip_forward":"1","kernel.shmmax":"5"}}}`;
interface Mended {
  hooks: Record<string, unknown>;
  annotations: Record<string, string>;
  linux: { namespaces: unknown[] };
}

test("numbers that JavaScript cannot hold stay as they are", () => {
  const mended = mendBundleConfig(parseBundleConfig(text({})), { networkPath: "/n" }, "/c");
  expect(mended).toContain('"hard":18446744073709551615');
  expect(mended).toContain('"soft":1.50');
});

test.each([
  ["/var/lib/docker/rootfs/overlayfs/1", "/var/lib/docker/rootfs/overlayfs/1"],
  ["rootfs", "/run/bundle/rootfs"],
])("the root at %s of a bundle", (path, root) => {
  const config = parseBundleConfig(`{"root":{"path":"${path}"},"linux":{"namespaces":[]}}`);
  expect(rootOf(config, "/run/bundle")).toBe(root);
});

test("finds Docker's network hook, and where Docker keeps namespaces", () => {
  const hook = networkHook(parseBundleConfig(text({ prestart: [setKey] })));
  expect(hook).toEqual({
    ...setKey,
    namespacesDir: "/var/run/docker/netns",
    socket: "/var/run/docker/libnetwork/ctl.sock",
  });
});

test.each([
  ["there is none", text({})],
  ["hooks are null", text(null)],
  ["another hook stands beside it", text({ prestart: [setKey, { path: "/nvidia" }] })],
  ["it is another program's", text({ prestart: [{ path: "/x", args: ["x", "-exec-root=/r"] }] })],
  ["the namespace exists already", text({ prestart: [setKey] }, { type: "network", path: "/var/run/n" })],
])("finds no network hook when %s", (_why, config) => {
  expect(networkHook(parseBundleConfig(config))).toBeUndefined();
});

test("with the network attached: its path instead of Docker's hook", () => {
  const config = parseBundleConfig(text({ prestart: [setKey], poststop: [{ path: "/p" }] }));
  const mended = JSON.parse(mendBundleConfig(config, { networkPath: "/netns/1" }, "/criu.conf")) as Mended;
  expect(mended.hooks).toEqual({ poststop: [{ path: "/p" }] });
  expect(mended.linux.namespaces).toEqual([{ type: "pid" }, { type: "network", path: "/netns/1" }]);
  expect(mended.annotations).toEqual({ "org.criu.config": "/criu.conf" });
});

test("without: our hook comes after those that are there", () => {
  const restoreHook = { path: "/w", args: ["/w", "dmigrate-hook", "/d"] };
  const config = parseBundleConfig(text({ prestart: [setKey], createRuntime: [{ path: "/first" }] }));
  const mended = JSON.parse(mendBundleConfig(config, { restoreHook }, "/criu.conf")) as Mended;
  expect(mended.hooks).toEqual({ prestart: [setKey], createRuntime: [{ path: "/first" }, restoreHook] });
});

test("names the settings of the network namespace only", () => {
  const sysctls = networkSysctls(parseBundleConfig(text({})));
  expect(sysctls).toEqual(new Map([["net.ipv4.ip_forward", "1"]]));
  expect(settingsOf(sysctls)).toEqual(new Map([["net/ipv4/ip_forward", "1"]]));
});

test("rejects what is no config.json", () => {
  expect(() => parseBundleConfig("{}")).toThrow();
  expect(() => parseBundleConfig("not JSON")).toThrow();
});

test("CRIU closes connections, takes file locks again, and puts processes into the control group that they have here", () => {
  const always = ["tcp-close", "file-locks", "external mnt[dmigrate-empty]:/e"];
  expect(criuRestoreConfig("/e", undefined).split("\n")).toEqual([...always, ""]);
  expect(criuRestoreConfig("/e", "/docker/1").split("\n")).toEqual([...always, "cgroup-root :/docker/1", ""]);
});
