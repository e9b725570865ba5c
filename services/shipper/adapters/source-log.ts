/**
 * The log of a container on the source. It is sent in passes: the first sends all there is, each later one what was written since,
 * or all again when Docker has rotated its files meanwhile. Nothing waits for it: the destination has room for it (container-log.ts).
 *
 * The file that Docker writes to stays open here, so that what Docker adds as the container ends is sent even if its files are
 * removed with it.
 */
import { constants } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type Docker from "dockerode";
import { jsonLogLimits, type LogLimits } from "../../shared/adapters/container-log.ts";
import { messageOf, DmigrateError, hasErrno } from "../../shared/errors.ts";
import type { FileJobs } from "../file-jobs.ts";
import type { Priority } from "../core/priority-queue.ts";
import { LogPadding } from "../core/log-padding.ts";
import { askDocker } from "./ask-docker.ts";
import { FrameFiller } from "./frame-filler.ts";

/** The file that Docker writes to, and how far it was sent. */
interface Current {
  handle: FileHandle;
  inode: bigint;
  /** Bytes read here, and bytes of the log at the destination. */
  read: number;
  sent: number;
  padding: LogPadding;
}

interface Where {
  path: string;
  limits: LogLimits;
}

interface LogPass {
  jobs: FileJobs;
  priority: Priority;
  signal: AbortSignal;
}

const blockBytes = 256 * 1024;
/** Docker may rotate while its files are looked at; so often in a row only a log far too small for what is written. */
const mostRotations = 5;

export class SourceLog {
  readonly #docker: Docker;
  readonly #containerId: string;
  #where: Where | undefined;
  #current: Current | undefined;

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
          await this.close();
          this.#current = opened;
          files += await this.#sendRotated(this.#where, pass);
        }
        files += await this.#sendCurrent(pass);
      }
      return files;
    } catch (error) {
      await this.close();
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

  async #find(): Promise<Where> {
    const container = this.#docker.getContainer(this.#containerId);
    const what = `container ${this.#containerId.slice(0, 12)}`;
    const { LogPath, HostConfig } = await askDocker(what, container.inspect());
    const limits = jsonLogLimits(HostConfig.LogConfig ?? {});
    if (limits === undefined || !LogPath.startsWith("/"))
      throw new DmigrateError("not-migratable", `${what} has no log that Docker keeps by json-file`);
    return { path: LogPath, limits };
  }

  /** The file that Docker writes to, if it is another one than before. Gone with its container, it is the same. */
  async #openIfNew(path: string): Promise<Current | undefined> {
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

  /** The oldest first: what is moved on meanwhile is then sent twice rather than never. */
  async #sendRotated({ path, limits }: Where, { jobs, priority, signal }: LogPass): Promise<number> {
    let files = 0;
    for (let file = limits.maxFiles - 1; file >= 1; file--) {
      const name = `${path}.${file}`;
      // Docker, too, looks for the one that is not packed first: the other may be half written.
      const plain = await openOptional(name);
      const handle = plain ?? (await openOptional(`${name}.gz`));
      if (handle === undefined) continue;
      try {
        const { size } = await handle.stat();
        const spec = { kind: "log", file, packed: limits.compress || plain === undefined, from: 0 } as const;
        await jobs.run(spec, priority, signal, async (job) => {
          const frames = new FrameFiller(job);
          const content = readFrom(handle, 0, size);
          // Docker moves none but packed ones on there.
          const packing = limits.compress && plain !== undefined;
          for await (const bytes of packing ? pack(content) : content) await frames.add(bytes);
          await frames.flush();
        });
      } finally {
        await handle.close();
      }
      files++;
    }
    return files;
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

async function openOptional(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** As gzip packs it. */
function pack(content: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const packed = createGzip();
  const copies = async function* (): AsyncGenerator<Buffer, void, void> {
    for await (const bytes of content) yield Buffer.from(bytes);
  };
  // A failure is met by whoever reads.
  pipeline(copies, packed).catch(() => undefined);
  return packed;
}

/** The bytes of a file between two places, or up to its end, in blocks of which each is gone with the next. */
async function* readFrom(handle: FileHandle, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, Math.max(1, to - from)));
  for (let at = from; at < to;) {
    const { bytesRead } = await handle.read(block, 0, Math.min(block.length, to - at), at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield block.subarray(0, bytesRead);
  }
}
