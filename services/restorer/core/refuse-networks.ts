/** Why a container cannot be attached to this node's networks as it was on the source. Pure. */
import type { ContainerSpec, NetworkAttachment } from "../../shared/contracts/container.ts";
import type { Refusal } from "../../shared/errors.ts";

export interface NetworkFacts {
  /** Networks by name, with their drivers. */
  networks: ReadonlyMap<string, string>;
  containers: readonly { name: string; networks: readonly string[] }[];
}

/** Every reason at once: networks that are not here, and links to containers that are not on them. */
export function refuseNetworks({ name: container, networks }: ContainerSpec, facts: NetworkFacts): Refusal[] {
  return networks.flatMap((attachment) => {
    const { name, driver } = attachment;
    const present = facts.networks.get(name);
    if (present === driver) return refuseLinks(container, attachment, facts);
    const message =
      present === undefined
        ? `network ${name} does not exist on the destination: docker network create --driver ${driver} ${name}`
        : `network ${name} has the driver ${present} on the destination, and ${driver} on the source`;
    return [{ code: "network", message }];
  });
}

/** Docker would take such a link, and the name would lead nowhere. */
function refuseLinks(
  container: string,
  { name: network, driver, links = [] }: NetworkAttachment,
  { containers }: NetworkFacts,
): Refusal[] {
  // An overlay network knows containers of other nodes.
  if (driver === "overlay") return [];
  return links.flatMap((link): Refusal[] => {
    const linked = linkedName(link);
    if (containers.some(({ name, networks }) => name === linked && networks.includes(network))) return [];
    const message =
      `${container} is linked to ${linked} on network ${network} (--link ${link}), and the destination has no container ` +
      `${linked} on it: move that one first, or connect ${container} to the network anew without the link`;
    return [{ code: "links", message }];
  });
}

/** `db:alias`, `db`, or as Docker itself writes it, `/db:/web/alias`. */
const linkedName = (link: string): string => (link.split(":")[0] ?? "").replace(/^\//, "");
