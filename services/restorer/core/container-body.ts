/** The body of Docker's create call that makes the container again as it was on the source. Pure. */
import type { ContainerSpec, NetworkAttachment, Volume } from "../../shared/contracts/container.ts";
import { bindTarget, cleanTarget } from "../../shared/core/mount-target.ts";

type DockerObject = Record<string, unknown>;

/** Keys of HostConfig that must not travel: a path of the source's client, and volumes that are named one by one. */
const dropped = ["ContainerIDFile", "VolumesFrom"];
const ownNetworkModes = new Set(["", "default", "bridge", "none", "host"]);

/**
 * `image` is the reference or id to create from. The restart policy is off until the migration is finished: Docker
 * must not start the container by itself while its memory is still on the source.
 */
export function containerBody(spec: ContainerSpec, image: string, runtime: string): DockerObject {
  const host: DockerObject = { ...spec.hostConfig };
  for (const key of dropped) Reflect.deleteProperty(host, key);
  const mounts = nameMounts(host["Mounts"], spec.volumes);
  const binds = Array.isArray(host["Binds"]) ? (host["Binds"] as unknown[]).map(String) : [];
  const mounted = new Set([...binds.map(bindTarget), ...mounts.map((mount) => cleanTarget(String(mount["Target"])))]);
  const unnamed = spec.volumes.filter(({ target }) => !mounted.has(target));
  return {
    ...spec.config,
    Image: image,
    HostConfig: {
      ...host,
      Binds: [...binds, ...unnamed.map(bindOf)],
      Mounts: mounts,
      NetworkMode: networkMode(host["NetworkMode"], spec.networks),
      RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
      Runtime: runtime,
    },
    NetworkingConfig: {
      EndpointsConfig: Object.fromEntries(spec.networks.map((network) => [network.name, endpoint(network)])),
    },
  };
}

/** `--mount type=volume,target=…` without a source made an anonymous volume; here it gets the name it had. */
function nameMounts(value: unknown, volumes: readonly Volume[]): DockerObject[] {
  if (!Array.isArray(value)) return [];
  return (value as DockerObject[]).map((mount) => {
    if (mount["Type"] !== "volume") return mount;
    const named = volumes.find(({ target }) => target === cleanTarget(String(mount["Target"])));
    return named === undefined ? mount : { ...mount, Source: named.name };
  });
}

const bindOf = ({ name, target, readOnly }: Volume): string => `${name}:${target}${readOnly ? ":ro" : ""}`;

/** A network named by its id on the source is unknown here: the first attachment stands for it. */
function networkMode(value: unknown, networks: readonly NetworkAttachment[]): string {
  const mode = typeof value === "string" ? value : "default";
  // Docker's own bridge by another name, under which it would not find the settings that are for it.
  if (mode === "default" && networks.some(({ name }) => name === "bridge")) return "bridge";
  if (ownNetworkModes.has(mode) || networks.some(({ name }) => name === mode)) return mode;
  return networks[0]?.name ?? mode;
}

function endpoint(network: NetworkAttachment): DockerObject {
  const { aliases, macAddress, links, driverOptions, gatewayPriority } = network;
  const { ipv4Address, ipv6Address, linkLocalAddresses } = network;
  const fixed = {
    ...(ipv4Address !== undefined && { IPv4Address: ipv4Address }),
    ...(ipv6Address !== undefined && { IPv6Address: ipv6Address }),
    ...(linkLocalAddresses !== undefined && { LinkLocalIPs: linkLocalAddresses }),
  };
  return {
    Aliases: aliases,
    ...(Object.keys(fixed).length > 0 && { IPAMConfig: fixed }),
    ...(macAddress !== undefined && { MacAddress: macAddress }),
    ...(links !== undefined && { Links: links }),
    ...(driverOptions !== undefined && { DriverOpts: driverOptions }),
    ...(gatewayPriority !== undefined && { GwPriority: gatewayPriority }),
  };
}
