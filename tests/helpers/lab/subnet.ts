/**
 * Picks addresses for the lab's bridge that nothing on this machine routes to already. The range keeps clear of 172.16/12,
 * where Docker engines (the ones inside the nodes too) take theirs from.
 */

export interface Subnet {
  /** The bridge's own address with its prefix length, such as `10.213.0.1/24`. */
  readonly gateway: string;
  /** The network, such as `10.213.0.0/24`. */
  readonly network: string;
}

/**
 * The first free /24 of 10.213/16.
 * @param routes the text of `/proc/net/route`: addresses in it are hexadecimal, lowest byte first
 */
export function pickSubnet(routes: string): Subnet {
  const taken = routes
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .flatMap((fields) => {
      const [, destination, , , , , , mask] = fields;
      return destination && mask && mask !== "00000000"
        ? [{ destination: parseLittleEndian(destination), mask: parseLittleEndian(mask) }]
        : [];
    });
  for (let third = 0; third < 256; third++) {
    const network = (10 << 24) + (213 << 16) + (third << 8);
    // Two networks overlap when they agree in the bits that both masks keep.
    const free = taken.every(({ destination, mask }) => ((destination ^ network) & mask & 0xffffff00) !== 0);
    const prefix = `10.213.${String(third)}`;
    if (free) return { gateway: `${prefix}.1/24`, network: `${prefix}.0/24` };
  }
  throw new Error("every /24 in 10.213.0.0/16 is routed on this machine: no room for the lab's bridge");
}

/**
 * The interface that the default route leaves by, if there is one.
 * @param routes the text of `/proc/net/route`
 */
export function defaultInterface(routes: string): string | undefined {
  for (const line of routes.split("\n").slice(1)) {
    const [name, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (destination === "00000000" && mask === "00000000") return name;
  }
  return undefined;
}

function parseLittleEndian(hex: string): number {
  return Buffer.from(hex, "hex").readInt32LE();
}
