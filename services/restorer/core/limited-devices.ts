/** Which block devices a container's limits name. Pure. */
import type { ContainerSpec } from "../../shared/contracts/container.ts";

const lists = [
  "BlkioWeightDevice",
  "BlkioDeviceReadBps",
  "BlkioDeviceWriteBps",
  "BlkioDeviceReadIOps",
  "BlkioDeviceWriteIOps",
];

/** Their paths, each once. */
export function limitedDevices(hostConfig: ContainerSpec["hostConfig"]): string[] {
  const paths = lists.flatMap((list) => {
    const limits = hostConfig[list];
    return Array.isArray(limits) ? (limits as { Path?: unknown }[]).map(({ Path }) => Path) : [];
  });
  return [...new Set(paths.filter((path) => typeof path === "string"))];
}
