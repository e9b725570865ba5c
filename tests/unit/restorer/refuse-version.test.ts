import { expect, test } from "vitest";
import { refuseForVersion } from "../../../services/restorer/core/refuse-version.ts";
import type { ContainerSpec, NetworkAttachment } from "../../../services/shared/contracts/container.ts";
import { fakeProfile } from "../../helpers/fake-world.ts";

const network = (changes: Partial<NetworkAttachment>): NetworkAttachment => ({
  name: "back",
  driver: "bridge",
  aliases: [],
  ...changes,
});
const spec = (networks: NetworkAttachment[], hostConfig: ContainerSpec["hostConfig"] = {}): ContainerSpec => ({
  ...fakeProfile().spec,
  networks,
  hostConfig,
});
const codes = (container: ContainerSpec, major: number): string[] =>
  refuseForVersion(container, major).map(({ code }) => code);

test("a gateway priority needs Docker 28, unless there is one network only", () => {
  const prior = network({ gatewayPriority: 1 });
  const two = spec([prior, network({ name: "front" })]);
  expect(codes(two, 27)).toEqual(["docker-too-old"]);
  expect(codes(two, 28)).toEqual([]);
  expect(codes(two, Number.NaN)).toEqual([]);
  expect(codes(spec([prior]), 26)).toEqual([]);
  expect(refuseForVersion(two, 26)[0]?.message).toMatch(/priority 1 on network back.*Docker 26.*28 or newer/);
});

test.each([
  ["com.docker.network.endpoint.sysctls", 26, 27],
  ["com.docker.network.endpoint.ifname", 27, 28],
])("the driver option %s is lost by Docker %i, and not by %i", (option, older, newer) => {
  const container = spec([network({ driverOptions: { [option]: "x", "of.another.driver": "y" } })]);
  expect(codes(container, older)).toEqual(["docker-too-old"]);
  expect(codes(container, newer)).toEqual([]);
});

test("so are options of a tmpfs", () => {
  const tmpfs = { Type: "tmpfs", Target: "/t", TmpfsOptions: { Options: [["noexec"]] } };
  const plain = { Type: "tmpfs", Target: "/u", TmpfsOptions: { SizeBytes: 5 } };
  const container = spec([], { Mounts: [tmpfs, plain, { Type: "volume", Target: "/v" }] });
  expect(codes(container, 26)).toEqual(["docker-too-old"]);
  expect(codes(container, 27)).toEqual([]);
});

test("settings of one interface are for no version; those of all are", () => {
  const sysctls = (name: string): ContainerSpec => spec([], { Sysctls: { [name]: "1" } });
  for (const major of [26, 28])
    expect(codes(sysctls("net.ipv4.conf.eth0.log_martians"), major)).toEqual(["interface-sysctl"]);
  expect(codes(sysctls("net.ipv4.conf.all.log_martians"), 28)).toEqual([]);
  expect(codes(sysctls("net.core.somaxconn"), 28)).toEqual([]);
});
