/** Which file systems of a destination a migration writes to, and how much to each. Pure. */
import type { NodeResources } from "../../shared/contracts/common.ts";
import type { ContainerProfile } from "../../shared/contracts/container.ts";
import type { Place, Places } from "../../shared/contracts/restorer.ts";
import { planLogRoom } from "./log-room.ts";
import { withMargin } from "./margin.ts";
import { logBytes } from "./plan.ts";

export interface DiskNeed extends Place {
  neededBytes: number;
  /** What for. */
  parts: readonly string[];
}

export interface DiskNeedsInput {
  profile: ContainerProfile;
  shipImage: boolean;
  /** As the restorer at the destination told; undefined of one that does not. */
  places: Places | undefined;
  destination: Pick<NodeResources, "diskFreeBytes" | "docker">;
}

const MiB = 1024 * 1024;
/** Where Docker works; and elsewhere, what the receiving side leaves of a file system (shipper/adapters/room-guard.ts) and more. */
const dockerExtraBytes = 64 * MiB;
const otherExtraBytes = 20 * MiB;

interface Demand {
  part: string;
  bytes: number;
  place: Place;
}

/** One for each file system that anything is written to: places on the same one share its room. */
export function findDiskNeeds(input: DiskNeedsInput): DiskNeed[] {
  const demands = demandsOf(input);
  const fileSystems = Map.groupBy(demands, ({ place }) => place.fileSystem);
  // The layers come first, and Docker works where they are.
  return [...fileSystems.values()].flatMap((group, at): DiskNeed[] => {
    const [first] = group;
    const bytes = group.reduce((sum, demand) => sum + demand.bytes, 0);
    if (first === undefined || (at > 0 && bytes === 0)) return [];
    const neededBytes = withMargin(bytes, at === 0 ? dockerExtraBytes : otherExtraBytes);
    return [{ ...first.place, neededBytes, parts: group.map(({ part }) => part) }];
  });
}

function demandsOf({ profile, shipImage, places, destination }: DiskNeedsInput): Demand[] {
  const { writableLayerBytes, volumeBytes, imageBytes, bytesByVolume, bytesByBind } = profile;
  const log = logBytes(profile) + (planLogRoom(profile).log?.roomBytes ?? 0);
  const docker = { fileSystem: "docker", path: destination.docker.rootDir, freeBytes: destination.diskFreeBytes };
  const { layers, log: ofLog, volumes, binds } = places ?? { layers: docker, log: docker, volumes: {}, binds: {} };
  const image = { part: "image", bytes: imageBytes, place: layers };
  const of = (kind: string, sizes: Record<string, number>, at: Record<string, Place>): Demand[] => {
    const known = new Map(Object.entries(at));
    return Object.entries(sizes).map(([name, bytes]) => ({
      part: `${kind} ${name}`,
      bytes,
      place: known.get(name) ?? ofLog,
    }));
  };
  return [
    ...(shipImage ? [image] : []),
    { part: "writable layer", bytes: writableLayerBytes, place: layers },
    { part: "log", bytes: log, place: ofLog },
    ...(bytesByVolume === undefined || bytesByBind === undefined
      ? [{ part: "volumes", bytes: volumeBytes, place: ofLog }]
      : [...of("volume", bytesByVolume, volumes), ...of("bind mount", bytesByBind, binds)]),
  ];
}
