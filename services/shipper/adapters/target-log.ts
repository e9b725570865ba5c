/**
 * The log of a container that comes here. Its first file is Docker's already, and as long as the room that the restorer has made
 * (container-log.ts): it is filled in place, never beyond, while Docker appends behind it. What is left of the room becomes spaces. Files that
 * were rotated at the source are put beside it.
 */
import { constants } from "node:fs";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import type { NotedLog } from "../../shared/adapters/container-log.ts";
import { FrameError } from "../../shared/core/frames/frame.ts";
import type { JobSpec } from "../../shared/core/frames/job-message.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { asNoRoom } from "../core/no-room.ts";
import type { JobSink } from "../receive-jobs.ts";
import { readFrom } from "./log-content.ts";
import { LogPasses } from "./log-passes.ts";

type LogSpec = Extract<JobSpec, { kind: "log" }>;
type RenamesSpec = Extract<JobSpec, { kind: "logRenames" }>;

/** A line longer than this is several to Docker, so its files are beyond their limit by no more. */
const slackBytes = 1 << 20;
/** Kept for the line that says what found no room. */
const noticeBytes = 256;
const lineEnd = 0x0a;
const spaces = Buffer.alloc(64 * 1024, " ");

export class TargetLog {
  readonly #log: NotedLog;
  readonly #handle: FileHandle;
  readonly #inode: bigint;
  readonly #passes: LogPasses;
  /** Bytes of the log that have come, and those of them that are in the file: whole lines once there is no more room. */
  #came = 0;
  #written = 0;
  /** Behind the last whole line. */
  #wholeLines = 0;
  /** Behind the last line that leaves room for the notice. */
  #lastLine = 0;
  /** Up to where the file has anything but spaces, or holes. */
  #filled: number;
  /**
   * A first pass is over: the room is lines and spaces, and Docker may append behind it. Before that nothing runs here, nor
   * will if that pass fails.
   */
  #padded = false;
  /** The job that fills it; one before may still be ending. */
  #turn = 0;
  #busy: Promise<void> = Promise.resolve();

  private constructor(log: NotedLog, handle: FileHandle, inode: bigint, passes: LogPasses) {
    this.#log = log;
    this.#handle = handle;
    this.#inode = inode;
    this.#passes = passes;
    this.#filled = log.bytes;
  }

  /** Opens the file that the restorer has noted for a migration. Throws what the file system throws. */
  static async open(log: NotedLog, stateDir: string, migrationId: string): Promise<TargetLog> {
    const handle = await open(log.path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { ino } = await handle.stat({ bigint: true });
    const noted = { path: log.path, bytes: log.bytes, inode: ino.toString() };
    return new TargetLog(log, handle, ino, new LogPasses(stateDir, migrationId, noted));
  }

  close(): Promise<void> {
    return this.#busy.then(() => this.#handle.close());
  }

  /** What takes the bytes of one job. */
  sink(spec: LogSpec | RenamesSpec): JobSink {
    if (spec.kind === "logRenames") return this.#renameRotated(spec);
    const sink = spec.file === 0 ? this.#fillCurrent(spec) : this.#addRotated(spec);
    const end = this.#padded ? this.#passes.begin(spec.file === 0 ? spec.from : this.#log.bytes) : undefined;
    return {
      write: (bytes, release) => sink.write(bytes, release),
      finish: async () => {
        const done = await sink.finish();
        end?.();
        return done;
      },
      abort: async () => {
        await sink.abort();
        end?.();
      },
    };
  }

  #fillCurrent({ from, packed }: LogSpec): JobSink {
    if (packed || (from !== 0 && from !== this.#came))
      throw new FrameError(`a log from byte ${from} on, where ${this.#came} have come`);
    const turn = ++this.#turn;
    if (from === 0) void this.#inTurn(turn, () => this.#beginAnew());
    let over = false;
    return {
      write: async (bytes, release) => {
        await this.#inTurn(turn, () => this.#append(bytes));
        release();
      },
      finish: async () => {
        await this.#inTurn(turn, () => this.#pad());
        over = true;
        return { files: 1 };
      },
      abort: async () => {
        if (over) return;
        over = true;
        await this.#inTurn(turn, () => this.#cutBack());
      },
    };
  }

  /** One thing after the other. What is left of a job that another one has followed is passed over: it was given up. */
  #inTurn(turn: number, work: () => Promise<void> | void): Promise<void> {
    const done = this.#busy.then(() => (turn === this.#turn ? work() : undefined));
    this.#busy = done.catch(() => undefined);
    return done;
  }

  #beginAnew(): void {
    this.#came = 0;
    this.#written = 0;
    this.#wholeLines = 0;
    this.#lastLine = 0;
  }

  /** A part of a line would keep Docker from reading on to its own lines. */
  async #cutBack(): Promise<void> {
    if (!this.#padded) return;
    if (this.#came <= this.#log.bytes) {
      this.#came = this.#wholeLines;
      this.#written = this.#wholeLines;
    }
    await this.#pad();
  }

  async #append(bytes: Buffer): Promise<void> {
    const before = this.#came;
    this.#came += bytes.length;
    const fits = this.#log.bytes - before;
    if (fits <= 0) return;
    const taken = bytes.subarray(0, fits);
    this.#filled = Math.max(this.#filled, before + taken.length);
    await writeAll(this.#handle, taken, before);
    this.#written = before + taken.length;
    const wholeLines = taken.lastIndexOf(lineEnd);
    if (wholeLines >= 0) this.#wholeLines = before + wholeLines + 1;
    const noticeAt = this.#log.bytes - noticeBytes - before;
    if (noticeAt > 0) {
      const line = taken.lastIndexOf(lineEnd, noticeAt - 1);
      if (line >= 0) this.#lastLine = before + line + 1;
    }
  }

  async #pad(): Promise<void> {
    let end = this.#written;
    if (this.#came > this.#log.bytes) {
      const notice = noticeOf(this.#came - this.#lastLine);
      end = this.#lastLine;
      if (end + notice.length <= this.#log.bytes) {
        await writeAll(this.#handle, notice, end);
        end += notice.length;
      }
    }
    for (let at = end; at < this.#filled; at += spaces.length)
      await writeAll(this.#handle, spaces.subarray(0, this.#filled - at), at);
    this.#filled = end;
    this.#padded = true;
  }

  #addRotated({ file, packed, from }: LogSpec): JobSink {
    const maxBytes = this.#mustBeRotated(file);
    // What has found no room here is in neither file.
    if (from > 0 && (packed || from !== this.#came || from > Math.min(this.#log.bytes, maxBytes + slackBytes)))
      throw new FrameError(`file ${file} of a log goes on at byte ${from}, where ${this.#came} have come before`);
    const name = `${this.#log.path}.${file}`;
    const arriving = `${name}.dmigrate`;
    const opening = open(
      arriving,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
      0o640,
    ).then((handle) => this.#copyCurrent(from, handle));
    opening.catch(() => undefined); // met by the first write, or the end
    let at = from;
    let closing: Promise<void> | undefined;
    const close = (): Promise<void> => (closing ??= opening.then((handle) => handle.close()));
    return {
      write: async (bytes, release) => {
        if (at + bytes.length > maxBytes + slackBytes)
          throw new FrameError(`file ${file} of a log is larger than the ${maxBytes} bytes that Docker allows it here`);
        await writeAll(await opening, bytes, at);
        at += bytes.length;
        release();
      },
      finish: async () => {
        await close();
        await this.#mustBeCurrent();
        await rename(arriving, packed ? `${name}.gz` : name);
        await rm(packed ? name : `${name}.gz`, { force: true });
        return { files: 1 };
      },
      abort: async () => {
        await close().catch(() => undefined);
        await rm(arriving, { force: true });
      },
    };
  }

  /** Of the log that came as file 0, its first bytes into another file. */
  async #copyCurrent(bytes: number, to: FileHandle): Promise<FileHandle> {
    try {
      for await (const part of readFrom(this.#handle, 0, bytes)) await to.appendFile(part);
      return to;
    } catch (error) {
      await to.close();
      throw error;
    }
  }

  #renameRotated({ files }: RenamesSpec): JobSink {
    let last = Infinity;
    for (const { file, was } of files) {
      this.#mustBeRotated(file);
      if (was >= file || file >= last)
        throw new FrameError(`file ${was} of a log is to be file ${file}: files only age, and the oldest goes first`);
      last = file;
    }
    return {
      write: () => Promise.reject(new FrameError("bytes of log files that are merely renamed")),
      finish: async () => {
        await this.#mustBeCurrent();
        for (const { file, was, packed } of files) {
          const [name, other] = packed ? [".gz", ""] : ["", ".gz"];
          await rename(`${this.#log.path}.${was}${name}`, `${this.#log.path}.${file}${name}`);
          await rm(`${this.#log.path}.${file}${other}`, { force: true });
        }
        return { files: files.length };
      },
      abort: () => Promise.resolve(),
    };
  }

  /** Answers how many bytes a rotated file has at most, but for a line. Throws FrameError where there is none of that number. */
  #mustBeRotated(file: number): number {
    const { maxBytes, maxFiles } = this.#log;
    if (maxBytes === undefined || file >= maxFiles)
      throw new FrameError(`a file ${file} of a log that is kept in ${maxBytes === undefined ? 1 : maxFiles}`);
    return maxBytes;
  }

  /** Once Docker has rotated here, its files bear other numbers than those at the source. */
  async #mustBeCurrent(): Promise<void> {
    const { ino } = await stat(this.#log.path, { bigint: true });
    if (ino !== this.#inode)
      throw new DmigrateError("conflict", "Docker has rotated the container's log here before the rest of it had come");
  }
}

/** Says in the log itself what is missing from it. */
function noticeOf(bytes: number): Buffer {
  const log = `dmigrate: ${bytes} bytes of this log found no room here; they are in the log on the node it came from\n`;
  return Buffer.from(`${JSON.stringify({ log, stream: "stderr", time: new Date().toISOString() })}\n`);
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;)
      done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  } catch (error) {
    throw asNoRoom(error, "the container's log") ?? error;
  }
}
