/**
 * The log of a container on the source. It is sent in passes: the first sends all there is, each later one what was written since;
 * files that Docker has rotated meanwhile are renamed at the destination (rotated-logs.ts). Nothing waits for it: the destination has room for it (container-log.ts).
 *
 * The file that Docker writes to stays open here, so that what Docker adds as the container ends is sent even if its files are
 * removed with it.
 */
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import type Docker from "dockerode";
import { jsonLogLimits } from "../../shared/adapters/container-log.ts";
import { messageOf, DmigrateError, hasErrno } from "../../shared/errors.ts";
import type { FileJobs } from "../file-jobs.ts";
import type { Priority } from "../core/priority-queue.ts";
import { LogPadding } from "../core/log-padding.ts";
import { askDocker } from "./ask-docker.ts";
import { FrameFiller } from "./frame-filler.ts";
import { readFrom } from "./log-content.ts";
import { RotatedLogs, type CurrentLog, type LogPass, type LogWhere } from "./rotated-logs.ts";

/** Docker may rotate while its files are looked at; so often in a row only a log far too small for what is written. */
const mostRotations = 5;

export class SourceLog {
  readonly #docker: Docker;
  readonly #containerId: string;
  #where: LogWhere | undefined;
  #current: CurrentLog | undefined;
  readonly #rotated = new RotatedLogs();

  constructor(docker: Docker, containerId: string) {
    this.#docker = docker;
    this.#containerId = containerId;
  }

  /**
   * Sends what the destination does not have yet. Answers the number of files. Throws `not-migratable` for a log that Docker does
   * not keep in files of the driver json-file, `transfer-failed`; the next pass then begins anew.
   */
  async send(jobs: FileJobs, priority: Priority, signal: AbortSignal): Promise<number> {
    const pass = { jobs, priority, signal };
    try {
      this.#where ??= await this.#find();
      let files = 0;
      for (let rotations = 0; rotations < mostRotations; rotations++) {
        const opened = await this.#openIfNew(this.#where.path);
        if (opened === undefined && rotations > 0) break;
        if (opened !== undefined) {
          const before = this.#current;
          this.#current = opened;
          try {
            files += await this.#rotated.send(this.#where, before, pass);
          } finally {
            await before?.handle.close();
          }
        }
        files += await this.#sendCurrent(pass);
      }
      return files;
    } catch (error) {
      await this.close();
      this.#rotated.forget();
      if (error instanceof DmigrateError) throw error;
      throw new DmigrateError("transfer-failed", `the container's log could not be sent: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.handle.close();
  }

  async #find(): Promise<LogWhere> {
    const container = this.#docker.getContainer(this.#containerId);
    const what = `container ${this.#containerId.slice(0, 12)}`;
    const { LogPath, HostConfig } = await askDocker(what, container.inspect());
    const limits = jsonLogLimits(HostConfig.LogConfig ?? {});
    if (limits === undefined || !LogPath.startsWith("/"))
      throw new DmigrateError("not-migratable", `${what} has no log that Docker keeps by json-file`);
    return { path: LogPath, limits };
  }

  /** The file that Docker writes to, if it is another one than before. Gone with its container, it is the same. */
  async #openIfNew(path: string): Promise<CurrentLog | undefined> {
    try {
      const { ino } = await stat(path, { bigint: true });
      if (ino === this.#current?.inode) return undefined;
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const opened = await handle.stat({ bigint: true });
      return { handle, inode: opened.ino, read: 0, sent: 0, padding: new LogPadding() };
    } catch (error) {
      if (this.#current !== undefined && hasErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  async #sendCurrent({ jobs, priority, signal }: LogPass): Promise<number> {
    const current = this.#current;
    if (current === undefined) return 0;
    const { size } = await current.handle.stat();
    if (current.read > 0 && size === current.read) return 0;
    if (size < current.read) {
      // Somebody has emptied it; Docker writes on at its new end.
      current.read = 0;
      current.sent = 0;
      current.padding = new LogPadding();
    }
    const spec = { kind: "log", file: 0, packed: false, from: current.sent } as const;
    return jobs.run(spec, priority, signal, async (job) => {
      const frames = new FrameFiller(job);
      for await (const bytes of readFrom(current.handle, current.read, size)) {
        current.read += bytes.length;
        for (const part of current.padding.strip(bytes)) {
          current.sent += part.length;
          await frames.add(part);
        }
      }
      await frames.flush();
    });
  }
}
