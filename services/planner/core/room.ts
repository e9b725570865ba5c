/** What a migration needs at the destination, and whether it is there: memory, disks, room for CRIU's images. Pure. */
import type { NodeResources } from "../../shared/contracts/common.ts";
import type { Migration, MigrationMode } from "../../shared/contracts/planner.ts";
import type { Refusal } from "../../shared/errors.ts";
import { findDiskNeeds, type DiskNeed, type DiskNeedsInput } from "./disk-needs.ts";
import { withMargin } from "./margin.ts";
import { criuImageBytes } from "./plan.ts";
import { size } from "./plan-text.ts";

export interface Needs {
  memoryBytes: number;
  /** Of each file system that files come to. */
  disks: readonly DiskNeed[];
  /** Where Docker keeps its files, for the container's own files: of an image, how many it unpacks to is not known. */
  diskInodes: number;
  /** In the state directory of either node. */
  stateBytes: number;
}

export interface NeedsInput extends DiskNeedsInput {
  mode: MigrationMode;
}

export interface RoomInput extends NeedsInput {
  from: string;
  to: string;
  source: NodeResources;
  destination: NodeResources;
}

const MiB = 1024 * 1024;

/** A file system that does not count its inodes has enough. */
const freeInodes = ({ diskFreeInodes = Infinity }: NodeResources): number => diskFreeInodes;

export function needsOf(input: NeedsInput): Needs {
  const { profile, mode } = input;
  // Memory that is there before its process is there twice while it is put in its place.
  const copies = mode === "stop-and-copy" ? 2 : 1;
  return {
    memoryBytes: withMargin(profile.memoryBytes * copies, 64 * MiB),
    disks: findDiskNeeds(input),
    diskInodes: withMargin(profile.inodes, 8192),
    stateBytes: withMargin(criuImageBytes(profile.processes) + profile.namelessBytes, 24 * MiB),
  };
}

/** Why the nodes have no room for the migration, were it the only one. */
export function findNoRoom(input: RoomInput): Refusal[] {
  const { from, to, source, destination, mode } = input;
  const needs = needsOf(input);
  const refusals: Refusal[] = [];
  if (destination.memoryAvailableBytes < needs.memoryBytes) {
    const instead = mode === "stop-and-copy" ? " for stop-and-copy; mode post-copy needs half of that" : "";
    const message = `node ${to} has ${size(destination.memoryAvailableBytes)} of memory available, and ${size(needs.memoryBytes)} are needed${instead}`;
    refusals.push({ code: "memory", message });
  }
  for (const { path, freeBytes, neededBytes, parts } of needs.disks) {
    if (freeBytes >= neededBytes) continue;
    const message = `node ${to} has ${size(freeBytes)} of disk free at ${path}, and ${size(neededBytes)} are needed for ${parts.join(", ")}`;
    refusals.push({ code: "disk", message });
  }
  if (freeInodes(destination) < needs.diskInodes) {
    const message =
      `node ${to} has ${freeInodes(destination)} inodes free at ${destination.docker.rootDir}, and ${needs.diskInodes} are ` +
      "needed for writable layer and volumes; remove files there, or use a file system with more inodes";
    refusals.push({ code: "inodes", message });
  }
  for (const [name, node] of [
    [from, source],
    [to, destination],
  ] as const) {
    if (node.stateFreeBytes >= needs.stateBytes) continue;
    const message = `node ${name} has ${size(node.stateFreeBytes)} free in its state directory, and ${size(needs.stateBytes)} are needed for CRIU images`;
    refusals.push({ code: "state-room", message });
  }
  return refusals;
}

/** A migration that is under way, and what it was found to need; undefined for one that was taken up after a restart. */
export interface Claim {
  migration: Pick<Migration, "to" | "phase">;
  needs: Needs | undefined;
}

/**
 * Whether the destination has room for one more beside those that are on their way to it and have not got all they need.
 * What has arrived of it already counts twice, which is on the safe side and soon over.
 */
export function findCrowding(
  claims: readonly Claim[],
  { to, needs, destination }: { to: string; needs: Needs; destination: NodeResources },
): Refusal | undefined {
  const here = claims.filter(({ migration }) => migration.to === to);
  // Files come before the freeze, memory after it.
  const copying = here.filter(({ migration: { phase } }) => phase === "planning" || phase === "preparing");
  const sum = (of: readonly Claim[], key: "memoryBytes" | "stateBytes" | "diskInodes"): number =>
    of.reduce((total, claim) => total + (claim.needs?.[key] ?? 0), 0);
  const sumOn = (fileSystem: string): number =>
    copying
      .flatMap((claim) => claim.needs?.disks ?? [])
      .reduce((total, disk) => total + (disk.fileSystem === fileSystem ? disk.neededBytes : 0), 0);
  const checks = [
    ["of memory", destination.memoryAvailableBytes, needs.memoryBytes, sum(here, "memoryBytes"), size],
    ...needs.disks.map(
      ({ path, freeBytes, neededBytes, fileSystem }) =>
        [`of disk at ${path}`, freeBytes, neededBytes, sumOn(fileSystem), size] as const,
    ),
    ["inodes", freeInodes(destination), needs.diskInodes, sum(copying, "diskInodes"), String],
    ["of room for CRIU images", destination.stateFreeBytes, needs.stateBytes, sum(here, "stateBytes"), size],
  ] as const;
  for (const [what, free, own, others, text] of checks) {
    if (others === 0 || free >= own + others) continue;
    const message =
      `node ${to} has ${text(free)} ${what} free, of which migrations under way may need ${text(others)}, and ` +
      `${text(own)} are needed; try again when they have ended`;
    return { code: "node-full", message };
  }
  return undefined;
}
