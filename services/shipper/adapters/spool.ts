/**
 * Frames that wait on disk, in their order, until there is a place for what they hold. The file has no name (O_TMPFILE,
 * open(2)), so that it is gone with whoever had it open; what was taken out of it takes no room any more.
 */
import { statfsSync } from "node:fs";
import { constants, open, type FileHandle } from "node:fs/promises";
import { punchHole } from "../../shared/adapters/linux.ts";
import { asNoRoom } from "../core/no-room.ts";
import { RoomGuard } from "./room-guard.ts";

/** Of a file without a name; Node has no constant for it. */
const temporaryFile = 0o20000000 | constants.O_DIRECTORY;
/** Of what is free: what the frames hold will need as much again. */
const mostPart = 1 / 4;
const punchEveryBytes = 16 << 20;

/** What all that wait for the same may keep: taken from, and not given back, as none waits twice. */
export interface Budget {
  bytes: number;
}

export class Spool {
  readonly #file: FileHandle;
  readonly #budget: Budget;
  readonly #room: RoomGuard;
  /** Lengths of the frames that are kept. */
  #lengths: number[] = [];
  #end = 0;

  private constructor(file: FileHandle, directory: string, budget: Budget) {
    const { bavail, bsize } = statfsSync(directory);
    this.#file = file;
    this.#budget = budget;
    budget.bytes = Math.min(budget.bytes, bavail * bsize * mostPart);
    this.#room = new RoomGuard(directory);
  }

  /** On the file system of `directory`; undefined where that has no files without a name. */
  static async open(directory: string, budget: Budget): Promise<Spool | undefined> {
    const file = await open(directory, constants.O_RDWR | temporaryFile, 0o600).catch(() => undefined);
    if (file === undefined) return undefined;
    try {
      return new Spool(file, directory, budget);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** False, with nothing kept, where there is no room for it, or the file system or a quota says so. One at a time. */
  async add(frame: Buffer): Promise<boolean> {
    if (frame.length > this.#budget.bytes || this.#room.shortageAfter(frame.length) !== undefined) return false;
    this.#budget.bytes -= frame.length;
    try {
      for (let at = 0; at < frame.length;) {
        const { bytesWritten } = await this.#file.write(frame, at, frame.length - at, this.#end + at);
        at += bytesWritten;
      }
    } catch (error) {
      // What was written of it lies beyond the end.
      if (asNoRoom(error, "what comes ahead") === undefined) throw error;
      this.#budget.bytes += frame.length;
      return false;
    }
    this.#lengths.push(frame.length);
    this.#end += frame.length;
    return true;
  }

  /** Takes out all frames, first in, first out. */
  async *takeAll(): AsyncGenerator<Buffer, void, void> {
    const lengths = this.#lengths;
    this.#lengths = [];
    let punched = 0;
    let position = 0;
    for (const length of lengths) {
      const frame = Buffer.allocUnsafeSlow(length);
      for (let at = 0; at < length;) {
        const { bytesRead } = await this.#file.read(frame, at, length - at, position + at);
        if (bytesRead === 0) throw new Error("the spool file is shorter than what was written to it");
        at += bytesRead;
      }
      position += length;
      yield frame;
      if (position - punched < punchEveryBytes) continue;
      punchHole(this.#file.fd, punched, position - punched);
      punched = position;
    }
    await this.#file.truncate(0);
    this.#end = 0;
  }

  /** Once nothing is written to it or read from it any more. */
  async close(): Promise<void> {
    await this.#file.close();
  }
}
