/**
 * Whether a container stays within its own limit at the destination, beyond which the kernel would kill it in the midst of its
 * drain. Its memory may come to more there than it takes now: what processes share since a fork becomes each one's own. What is
 * swapped out comes back, and is swapped out anew where limit and destination leave it swap. Pure.
 */
import type { NodeResources } from "../../shared/contracts/common.ts";
import type { ContainerProfile } from "../../shared/contracts/container.ts";
import type { Refusal } from "../../shared/errors.ts";
import { size } from "./plan-text.ts";

export interface MemoryLimitInput {
  profile: Pick<ContainerProfile, "spec" | "memoryBytes">;
  to: string;
  destination: Pick<NodeResources, "swapFreeBytes">;
}

/** One refusal at most; none for a container without a limit (`--memory`). */
export function findBeyondLimit({ profile, to, destination }: MemoryLimitInput): Refusal[] {
  const { memoryBytes, spec } = profile;
  const limitBytes = numberOf(spec.hostConfig["Memory"]);
  if (limitBytes <= 0) return [];
  const allowedBytes = allowedSwapBytes(spec.hostConfig);
  const swapBytes = Math.min(allowedBytes, destination.swapFreeBytes);
  if (memoryBytes <= limitBytes + swapBytes) return [];
  const swap =
    allowedBytes === 0
      ? "without swap"
      : `and ${size(swapBytes)} of swap (${allowedBytes === Infinity ? "it has no limit of that" : `its limit of that is ${size(allowedBytes)}`}, and node ${to} has ${size(destination.swapFreeBytes)} free)`;
  const message =
    `${spec.name} would need ${size(memoryBytes)} on node ${to}, beyond its limit of ${size(limitBytes)} of memory ${swap}: what its ` +
    "processes share since a fork becomes each one's own there, and what is swapped out comes back; wait until such a child " +
    `has ended (a background save, for one), or raise the limit (docker update --memory BYTES --memory-swap BYTES ${spec.name})`;
  return [{ code: "memory-limit", message }];
}

/**
 * Swap that a container with a memory limit may use; Infinity where only the node bounds it. `MemorySwap` is memory and swap
 * together; -1: as much swap as there is; not set: as much swap as memory.
 */
export function allowedSwapBytes(hostConfig: Readonly<Record<string, unknown>>): number {
  // Swappiness 0 keeps a control group from swapping at all.
  if (hostConfig["MemorySwappiness"] === 0) return 0;
  const limitBytes = numberOf(hostConfig["Memory"]);
  const totalBytes = numberOf(hostConfig["MemorySwap"]);
  if (totalBytes < 0) return Infinity;
  return totalBytes === 0 ? limitBytes : Math.max(0, totalBytes - limitBytes);
}

const numberOf = (value: unknown): number => (typeof value === "number" ? value : 0);
