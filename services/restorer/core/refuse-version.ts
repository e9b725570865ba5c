/**
 * Settings that this node's Docker does not take as the source's did: an older one would leave them out without a word, a newer
 * one would not create the container. Pure.
 */
import type { ContainerSpec } from "../../shared/contracts/container.ts";
import type { Refusal } from "../../shared/errors.ts";

/** Driver options of an endpoint by the major version of Docker that first knew them. */
const newerOptions = new Map([
  ["com.docker.network.endpoint.sysctls", 27],
  ["com.docker.network.endpoint.ifname", 28],
]);
const gatewayPrioritySince = 28;
const tmpfsOptionsSince = 27;

/** Every reason at once. `major`: of Docker's version here; NaN, where it has no number, counts as the newest. */
export function refuseForVersion({ name, networks, hostConfig }: ContainerSpec, major: number): Refusal[] {
  const tooOld = (since: number, what: string, without: string): Refusal[] => {
    if (!(major < since)) return [];
    const message = `${name} has ${what}, which Docker ${major} of the destination does not know: update it to ${since} or newer, or ${without}`;
    return [{ code: "docker-too-old", message }];
  };
  const refusals: Refusal[] = [];
  // The only network has the default route in any case.
  const prior = networks.length > 1 ? networks.filter(({ gatewayPriority = 0 }) => gatewayPriority !== 0) : [];
  for (const { name: network, gatewayPriority } of prior) {
    const what = `the gateway priority ${String(gatewayPriority)} on network ${network} (--gw-priority)`;
    refusals.push(...tooOld(gatewayPrioritySince, what, "connect it to the network anew without"));
  }
  for (const { name: network, driverOptions = {} } of networks)
    for (const option of Object.keys(driverOptions)) {
      const what = `the driver option ${option} on network ${network}`;
      refusals.push(...tooOld(newerOptions.get(option) ?? 0, what, "connect it to the network anew without"));
    }
  for (const target of tmpfsWithOptions(hostConfig["Mounts"]))
    refusals.push(...tooOld(tmpfsOptionsSince, `options of its own for the tmpfs at ${target}`, "create it without"));
  return [...refusals, ...refuseInterfaceSettings(name, hostConfig["Sysctls"])];
}

/** Up to 27 an interface is not there yet when we make such settings; from 28 on Docker takes them by a driver option only. */
function refuseInterfaceSettings(name: string, sysctls: unknown): Refusal[] {
  if (typeof sysctls !== "object" || sysctls === null) return [];
  const ofInterfaces = Object.keys(sysctls).filter((key) => /^net\.[^.]+\.[^.]+\.eth\d+\./.test(key));
  if (ofInterfaces.length === 0) return [];
  const message =
    `${name} has settings of a network interface (--sysctl ${ofInterfaces.join(", ")}), which cannot be made at the destination: ` +
    "create it with those of all interfaces (net.….all.…, net.….default.…), or with Docker 28 on both nodes and the driver option com.docker.network.endpoint.sysctls of the network";
  return [{ code: "interface-sysctl", message }];
}

function tmpfsWithOptions(mounts: unknown): string[] {
  if (!Array.isArray(mounts)) return [];
  return (mounts as { Target?: unknown; TmpfsOptions?: { Options?: unknown } | null }[]).flatMap((mount) => {
    const options = mount.TmpfsOptions?.Options;
    return Array.isArray(options) && options.length > 0 ? [String(mount.Target)] : [];
  });
}
