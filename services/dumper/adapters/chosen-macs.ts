/**
 * Hardware addresses that a container's user chose (`--mac-address`, or `mac-address=` of a network). Docker's API tells of an
 * endpoint in use only the address that it has, chosen or made up; what was asked for is in the file that Docker keeps of the
 * container, from Docker 25 on.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const keptSchema = z.looseObject({
  NetworkSettings: z.looseObject({
    Networks: z.record(z.string(), z.looseObject({ DesiredMacAddress: z.string().max(64).optional() })),
  }),
});

/**
 * By the network's name. `rootDir`: Docker's own. Empty where the file cannot be read or is not as we know it: it is nothing
 * that Docker promises.
 */
export async function readChosenMacs(rootDir: string, containerId: string): Promise<Map<string, string>> {
  const chosen = new Map<string, string>();
  try {
    const text = await readFile(join(rootDir, "containers", containerId, "config.v2.json"), "utf8");
    const { NetworkSettings } = keptSchema.parse(JSON.parse(text));
    for (const [name, { DesiredMacAddress: mac = "" }] of Object.entries(NetworkSettings.Networks))
      if (mac !== "") chosen.set(name, mac);
  } catch {
    return new Map();
  }
  return chosen;
}
