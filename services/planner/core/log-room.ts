/** How much room the container's log gets at the destination beyond what there is of it. Pure. */
import type { ContainerProfile } from "../../shared/contracts/container.ts";
import type { LogRoom } from "../../shared/contracts/restorer.ts";
import { size } from "./plan-text.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

const leastRoomBytes = 256 * KiB;
const mostRoomBytes = 256 * MiB;
/** How long a container is prepared that has hardly any files, and how fast files go over a slow link. */
const prepareSeconds = 10;
const fileBytesPerSecond = 25 * MiB;

export type LogRoomInput = Pick<ContainerProfile, "log" | "writableLayerBytes" | "volumeBytes">;

/** From the start of the container at the destination to the freeze of the source, twice over. */
export function planLogRoom({ log, writableLayerBytes, volumeBytes }: LogRoomInput): { log?: LogRoom; reason: string } {
  if (log === undefined)
    return { reason: "the log stays behind: Docker does not keep it by json-file in a file of its own" };
  const seconds = prepareSeconds + (writableLayerBytes + volumeBytes + log.bytes) / fileBytesPerSecond;
  const wanted = Math.ceil((2 * log.bytesPerSecond * seconds) / KiB) * KiB;
  const roomBytes = Math.min(Math.max(wanted, leastRoomBytes), mostRoomBytes);
  return {
    log: { bytes: log.bytes, roomBytes, limited: log.limited },
    reason:
      `log of ${size(log.bytes + log.rotatedBytes)} moves, with room for ${size(roomBytes)} until the freeze: ` +
      `it grows by ${size(log.bytesPerSecond)} a second`,
  };
}
