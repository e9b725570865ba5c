/**
 * Makes room in a created container's log for the log that comes with it, before Docker opens the file (container-log.ts).
 * The file goes with the container, so a roll back has nothing to undo.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { noteLog, type LogLimits } from "../../shared/adapters/container-log.ts";
import type { LogRoom } from "../../shared/contracts/restorer.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";

/** As Docker makes it. */
const fileMode = 0o640;

/** `log`: where Docker will write it, and its limits here. Throws `restore-failed`. */
export async function makeLogRoom(
  stateDir: string,
  containerId: string,
  { path, limits }: { path: string; limits: LogLimits },
  wanted: LogRoom,
): Promise<void> {
  const { maxBytes, maxFiles } = limits;
  const bytes = logFileBytes(wanted, maxBytes);
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(path, flags, fileMode);
    try {
      await handle.truncate(bytes);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new DmigrateError("restore-failed", `no room could be made for the container's log: ${messageOf(cause)}`, {
      cause,
    });
  }
  await noteLog(stateDir, containerId, { path, bytes, maxFiles, ...(maxBytes !== undefined && { maxBytes }) });
}

/**
 * Docker rotates the file once it is as long as its limit, and may throw it away: of what the log leaves below the limit the
 * room takes half at most.
 */
export function logFileBytes({ bytes, roomBytes }: LogRoom, maxBytes = Number.POSITIVE_INFINITY): number {
  return bytes + Math.min(roomBytes, Math.max(0, Math.floor((maxBytes - bytes) / 2)));
}
