import { describe, expect, it } from "vitest";
import { toAttachment, toSpec, toVolume } from "../../../services/dumper/core/container-spec.ts";
import { containerSpecSchema, networkAttachmentSchema } from "../../../services/shared/contracts/container.ts";

const id = "ab".repeat(32);
const endpoint = {
  IPAMConfig: null,
  Aliases: ["web", id.slice(0, 12)],
  IPAddress: "172.18.0.2",
  GlobalIPv6Address: "",
  MacAddress: "02:42:ac:12:00:02",
};

const bridge = { name: "net", driver: "bridge" };

describe("container spec", () => {
  it("keeps Docker's own objects, the hostname among them, and satisfies the contract", () => {
    const Config = { Image: "redis:7", Hostname: "abcdef", Env: ["A=b"] };
    const HostConfig = { Memory: 5, NewerField: { x: 1 } };
    const spec = toSpec({ Id: id, Name: "/r1", Image: `sha256:${id}`, Config, HostConfig, Mounts: [] }, [], []);
    expect(containerSpecSchema.parse(spec)).toEqual({
      name: "r1",
      imageId: `sha256:${id}`,
      imageRef: "redis:7",
      config: Config,
      hostConfig: HostConfig,
      volumes: [],
      networks: [],
    });
  });

  it("describes a volume without labels and options", () => {
    const mount = { Type: "volume", Name: "v", Source: "/x", Destination: "/data", RW: false };
    expect(toVolume(mount, { Name: "v", Labels: null, Options: null })).toEqual({
      name: "v",
      target: "/data",
      readOnly: true,
      driver: "local",
      labels: {},
      options: {},
    });
  });

  it("leaves out addresses that Docker chose on a bridge, and its own alias", () => {
    expect(toAttachment(id, bridge, endpoint)).toEqual({ name: "net", driver: "bridge", aliases: ["web"] });
  });

  it("keeps an address that the user chose", () => {
    const chosen = { ...endpoint, IPAMConfig: { IPv4Address: "172.18.0.9" } };
    expect(toAttachment(id, bridge, chosen).ipv4Address).toBe("172.18.0.9");
  });

  it("keeps addresses of the outer network: the hardware address only on macvlan", () => {
    const macvlan = toAttachment(id, { name: "lan", driver: "macvlan" }, endpoint);
    expect(macvlan).toMatchObject({ ipv4Address: "172.18.0.2", macAddress: endpoint.MacAddress });
    const ipvlan = toAttachment(id, { name: "lan", driver: "ipvlan" }, endpoint);
    expect(ipvlan).toMatchObject({ ipv4Address: "172.18.0.2" });
    expect(ipvlan.macAddress).toBeUndefined();
  });

  it("keeps a hardware address that the user chose, whatever the driver", () => {
    const chosenMac = "02:00:00:00:00:07";
    expect(toAttachment(id, { ...bridge, chosenMac }, endpoint).macAddress).toBe(chosenMac);
    expect(toAttachment(id, { name: "lan", driver: "macvlan", chosenMac }, endpoint).macAddress).toBe(chosenMac);
  });

  it("keeps what else is set of an endpoint, and nothing that is not", () => {
    const settings = {
      IPAMConfig: { LinkLocalIPs: ["169.254.7.7"] },
      Links: ["db:store"],
      DriverOpts: { "com.docker.network.endpoint.ifname": "lan0" },
      GwPriority: -1,
    };
    const attachment = toAttachment(id, bridge, { ...endpoint, ...settings });
    expect(networkAttachmentSchema.parse(attachment)).toEqual({
      ...bridge,
      aliases: ["web"],
      linkLocalAddresses: ["169.254.7.7"],
      links: ["db:store"],
      driverOptions: { "com.docker.network.endpoint.ifname": "lan0" },
      gatewayPriority: -1,
    });
    const none = { Links: null, DriverOpts: null, GwPriority: 0, IPAMConfig: { LinkLocalIPs: null } };
    expect(toAttachment(id, bridge, { ...endpoint, ...none })).toEqual(toAttachment(id, bridge, endpoint));
  });
});
