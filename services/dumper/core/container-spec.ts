/** Docker's inspect data → what the destination needs to create the container again. Pure. */
import type { ContainerSpec, NetworkAttachment, Volume } from "../../shared/contracts/container.ts";

export interface InspectedContainer {
  Id: string;
  Name: string;
  Image: string;
  Config: { Image: string };
  HostConfig: object;
  Mounts: readonly InspectedMount[];
}

export interface InspectedMount {
  Type: string;
  Name?: string | undefined;
  Source: string;
  Destination: string;
  Driver?: string | undefined;
  RW: boolean;
}

/** What Docker says about the volume itself. */
export interface InspectedVolume {
  Name: string;
  Labels?: Record<string, string> | null;
  Options?: Record<string, string> | null;
}

export interface InspectedEndpoint {
  IPAMConfig?: { IPv4Address?: string; IPv6Address?: string; LinkLocalIPs?: string[] | null } | null;
  Aliases?: string[] | null;
  Links?: string[] | null;
  DriverOpts?: Record<string, string> | null;
  /** From Docker 28 on. */
  GwPriority?: number;
  IPAddress: string;
  GlobalIPv6Address: string;
  MacAddress: string;
}

export function toSpec(
  container: InspectedContainer,
  volumes: readonly Volume[],
  networks: readonly NetworkAttachment[],
): ContainerSpec {
  return {
    name: container.Name.replace(/^\//, ""),
    imageId: container.Image,
    imageRef: container.Config.Image,
    config: { ...container.Config },
    hostConfig: { ...container.HostConfig },
    volumes: [...volumes],
    networks: [...networks],
  };
}

export function toVolume(mount: InspectedMount, volume: InspectedVolume): Volume {
  return {
    name: volume.Name,
    target: mount.Destination,
    readOnly: !mount.RW,
    driver: mount.Driver ?? "local",
    labels: volume.Labels ?? {},
    options: volume.Options ?? {},
  };
}

/** Drivers whose addresses live in the outer network: a container there keeps its address when it moves. */
const outerDrivers = new Set(["macvlan", "ipvlan", "overlay"]);

/**
 * Addresses that the user chose are kept; those that Docker chose only where they mean something elsewhere. `chosenMac`: the
 * hardware address that the user chose, which an endpoint in use does not tell from one that Docker did.
 */
export function toAttachment(
  containerId: string,
  { name, driver, chosenMac }: { name: string; driver: string; chosenMac?: string | undefined },
  endpoint: InspectedEndpoint,
): NetworkAttachment {
  const outer = outerDrivers.has(driver);
  const ipv4Address = endpoint.IPAMConfig?.IPv4Address ?? (outer ? endpoint.IPAddress : "");
  const ipv6Address = endpoint.IPAMConfig?.IPv6Address ?? (outer ? endpoint.GlobalIPv6Address : "");
  // ipvlan has the address of its parent interface, which must not be set.
  const macAddress = chosenMac ?? (driver === "macvlan" ? endpoint.MacAddress : "");
  const linkLocalAddresses = endpoint.IPAMConfig?.LinkLocalIPs ?? [];
  const links = endpoint.Links ?? [];
  const driverOptions = endpoint.DriverOpts ?? {};
  const gatewayPriority = endpoint.GwPriority ?? 0;
  return {
    name,
    driver,
    // Docker adds the short container id by itself.
    aliases: (endpoint.Aliases ?? []).filter((alias) => alias !== containerId.slice(0, 12)),
    ...(ipv4Address !== "" && { ipv4Address }),
    ...(ipv6Address !== "" && { ipv6Address }),
    ...(linkLocalAddresses.length > 0 && { linkLocalAddresses }),
    ...(macAddress !== "" && { macAddress }),
    ...(links.length > 0 && { links }),
    ...(Object.keys(driverOptions).length > 0 && { driverOptions }),
    ...(gatewayPriority !== 0 && { gatewayPriority }),
  };
}
