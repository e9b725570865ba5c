/**
 * A container's log where Docker keeps it in files of its own, by the driver json-file: `<id>-json.log` is the one that is
 * written to; what was rotated out of it has .1, .2 and so on behind its name, .1 the newest, and .gz where it is packed.
 *
 * Docker opens the file as it starts the container, and takes for the log what lies in it at that moment and what it appends
 * itself; what others append later it does not show. So the restorer makes the file as long as the log will be, before the start, and
 * notes it where the shipper finds it, which fills it in place. What is left over is spaces, which mean nothing between lines of JSON.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { maxLogFiles } from "../core/frames/job-message.ts";
import { DmigrateError, hasErrno } from "../errors.ts";
import { restoreSpecDir } from "../node-paths.ts";

export interface LogLimits {
  /** A file that has reached so many bytes is rotated; undefined when none ever is. */
  maxBytes: number | undefined;
  /** Files that Docker keeps, the one that is written to among them. */
  maxFiles: number;
  /** Rotated files are packed. */
  compress: boolean;
}

interface LogConfig {
  Type?: string;
  Config?: Partial<Record<string, string>> | null;
}

/** Limits of the log that this `HostConfig.LogConfig` asks for; undefined for one that is not kept by json-file. */
export function jsonLogLimits({ Type, Config }: LogConfig): LogLimits | undefined {
  if (Type !== "json-file") return undefined;
  const maxFiles = Number(Config?.["max-file"] ?? 1);
  return {
    maxBytes: parseSize(Config?.["max-size"]),
    compress: /^(1|t|true)$/i.test(Config?.["compress"] ?? ""),
    maxFiles: maxFiles >= 1 ? Math.min(Math.floor(maxFiles), maxLogFiles) : 1,
  };
}

/** Docker's sizes of log files: `10m` is 10 000 000. */
function parseSize(text: string | undefined): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text ?? "") ?? [];
  if (number === undefined) return undefined;
  return Math.floor(Number(number) * 1000 ** " kmgtp".indexOf(unit.toLowerCase() || " "));
}

/** Where Docker will write the log of a container that it has created. `rootDir` is Docker's own. */
export const jsonLogPath = (rootDir: string, containerId: string): string =>
  join(rootDir, "containers", containerId, `${containerId}-json.log`);

const notedLogSchema = z.strictObject({
  path: z.string().startsWith("/"),
  /** Length of the file as Docker opened it: the log that comes has room for so much. */
  bytes: z.int().min(0),
  maxBytes: z.int().min(0).optional(),
  maxFiles: z.int().min(1).max(maxLogFiles),
});
export type NotedLog = z.infer<typeof notedLogSchema>;

const fileOf = (stateDir: string, containerId: string): string =>
  join(restoreSpecDir(stateDir, containerId), "log.json");

/** Notes the log file of a container that is about to be started. */
export async function noteLog(stateDir: string, containerId: string, log: NotedLog): Promise<void> {
  await writeFile(fileOf(stateDir, containerId), JSON.stringify(log), { mode: 0o600 });
}

/** The log file of a container that waits to be restored; undefined when no log comes with it. */
export async function readNotedLog(stateDir: string, containerId: string): Promise<NotedLog | undefined> {
  const path = fileOf(stateDir, containerId);
  try {
    return notedLogSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    if (hasErrno(cause, "ENOENT")) return undefined;
    throw new DmigrateError("internal", `${path}, which the restorer wrote, cannot be read`, { cause });
  }
}
