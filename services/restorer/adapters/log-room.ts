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
  const bytes = logFileBytes(wanted, limits);
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

/** What Docker may write beyond a limit: one line, or a part of one. */
const slackBytes = 128 * 1024;

/**
 * How long the file is made. No log is longer than its limit, beyond which Docker rotates the file with its next line: where it
 * then keeps it under another name, the room may go up to there. Where it throws it away, the room takes half of what is left.
 */
export function logFileBytes({ bytes, roomBytes }: LogRoom, { maxBytes, maxFiles }: LogLimits): number {
  if (maxBytes === undefined) return bytes + roomBytes;
  if (maxFiles > 1) return Math.min(bytes + roomBytes, Math.max(bytes, maxBytes) + slackBytes);
  return bytes + Math.min(roomBytes, Math.max(0, Math.floor((maxBytes - bytes) / 2)));
}
