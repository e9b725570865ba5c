import { expect, test } from "vitest";
import type { ContainerSpec, Volume } from "../../../services/shared/contracts/container.ts";
import { containerBody } from "../../../services/restorer/core/container-body.ts";

const volume = (name: string, target: string, readOnly = false): Volume => ({
  name,
  target,
  readOnly,
  driver: "local",
  labels: {},
  options: {},
});

const spec = (changes: Partial<ContainerSpec> = {}): ContainerSpec => ({
  name: "db",
  imageId: `sha256:${"a".repeat(64)}`,
  imageRef: "redis:7",
  config: { Env: ["A=B"], Hostname: "h", Labels: { x: "y" }, Image: "redis:7" },
  hostConfig: { Memory: 5, RestartPolicy: { Name: "always", MaximumRetryCount: 0 }, Runtime: "runc", AutoRemove: true },
  volumes: [],
  networks: [],
  ...changes,
});
type Body = Record<string, unknown> & {
  HostConfig: Record<string, unknown>;
  NetworkingConfig: Record<string, unknown>;
};
const bodyOf = (changes?: Partial<ContainerSpec>): Body => containerBody(spec(changes), "redis:7", "dmigrate") as Body;

test("keeps the configuration, with the runtime changed and the restart policy off", () => {
  const body = bodyOf();
  expect(body).toMatchObject({ Env: ["A=B"], Hostname: "h", Labels: { x: "y" }, Image: "redis:7" });
  expect(body.HostConfig).toMatchObject({
    Memory: 5,
    AutoRemove: true,
    Runtime: "dmigrate",
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
  });
});

test("gives anonymous volumes the names they had, and leaves named ones as they are", () => {
  const { HostConfig } = bodyOf({
    hostConfig: {
      Binds: ["named:/named:ro", "/shared:/host"],
      Mounts: [
        { Type: "volume", Target: "/m" },
        { Type: "tmpfs", Target: "/t" },
      ],
    },
    volumes: [volume("named", "/named", true), volume("v1", "/anon"), volume("v2", "/m"), volume("v3", "/r", true)],
  });
  expect(HostConfig["Binds"]).toEqual(["named:/named:ro", "/shared:/host", "v1:/anon", "v3:/r:ro"]);
  expect(HostConfig["Mounts"]).toEqual([
    { Type: "volume", Target: "/m", Source: "v2" },
    { Type: "tmpfs", Target: "/t" },
  ]);
});

test("a target is the same however it is written", () => {
  const { HostConfig } = bodyOf({
    hostConfig: { Binds: ["named:/data/", "/h://etc/./x"], Mounts: [{ Type: "volume", Target: "/m/" }] },
    volumes: [volume("named", "/data"), volume("v2", "/m")],
  });
  expect(HostConfig["Binds"]).toEqual(["named:/data/", "/h://etc/./x"]);
  expect(HostConfig["Mounts"]).toEqual([{ Type: "volume", Target: "/m/", Source: "v2" }]);
});

test("drops what names things of the source", () => {
  const { HostConfig } = bodyOf({ hostConfig: { ContainerIDFile: "/x", VolumesFrom: ["other"] } });
  expect(HostConfig).not.toHaveProperty("ContainerIDFile");
  expect(HostConfig).not.toHaveProperty("VolumesFrom");
});

test("attaches every network with its aliases and fixed addresses; a network named by id becomes its name", () => {
  const body = bodyOf({
    hostConfig: { NetworkMode: "f".repeat(64) },
    networks: [
      { name: "front", driver: "bridge", aliases: ["db"], ipv4Address: "10.1.2.3" },
      { name: "back", driver: "bridge", aliases: [], macAddress: "02:00:00:00:00:01" },
    ],
  });
  expect(body.HostConfig["NetworkMode"]).toBe("front");
  expect(body.NetworkingConfig["EndpointsConfig"]).toEqual({
    front: { Aliases: ["db"], IPAMConfig: { IPv4Address: "10.1.2.3" } },
    back: { Aliases: [], MacAddress: "02:00:00:00:00:01" },
  });
});

test("keeps what else is set of each endpoint, in Docker's words", () => {
  const second = {
    name: "back",
    driver: "bridge",
    aliases: [],
    ipv6Address: "fd00::7",
    linkLocalAddresses: ["169.254.7.7"],
    macAddress: "02:00:00:00:00:02",
    links: ["db:store"],
    driverOptions: { "com.docker.network.endpoint.ifname": "lan0" },
    gatewayPriority: 5,
  };
  const body = bodyOf({ networks: [{ name: "bridge", driver: "bridge", aliases: [] }, second] });
  expect(body.HostConfig["NetworkMode"]).toBe("bridge");
  expect(body.NetworkingConfig["EndpointsConfig"]).toEqual({
    bridge: { Aliases: [] },
    back: {
      Aliases: [],
      IPAMConfig: { IPv6Address: "fd00::7", LinkLocalIPs: ["169.254.7.7"] },
      MacAddress: "02:00:00:00:00:02",
      Links: ["db:store"],
      DriverOpts: { "com.docker.network.endpoint.ifname": "lan0" },
      GwPriority: 5,
    },
  });
});
