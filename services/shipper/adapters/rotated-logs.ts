/**
 * The files that Docker has rotated out of a container's log, on the source. Docker only renames them: one that the
 * destination has under another number is renamed there too, and of the one that was written to until the last pass only
 * the rest is sent. All of it may be inside the downtime.
 */
import { readdir, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { LogLimits } from "../../shared/adapters/container-log.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { FileJobs } from "../file-jobs.ts";
import type { LogPadding } from "../core/log-padding.ts";
import type { Priority } from "../core/priority-queue.ts";
import { FrameFiller } from "./frame-filler.ts";
import { openOptional, pack, readFrom } from "./log-content.ts";

export interface LogWhere {
  path: string;
  limits: LogLimits;
}

export interface LogPass {
  jobs: FileJobs;
  priority: Priority;
  signal: AbortSignal;
}

/** The file that Docker writes to, and how far it was sent. */
export interface CurrentLog {
  handle: FileHandle;
  inode: bigint;
  /** Bytes read here, and bytes of the log at the destination. */
  read: number;
  sent: number;
  padding: LogPadding;
}

/** A rotated file as the destination has it: it is not written to any more, so this tells it from all others. */
interface SentFile {
  inode: bigint;
  size: bigint;
  mtimeNs: bigint;
  packed: boolean;
}

type Found = Omit<SentFile, "packed">;

export class RotatedLogs {
  /** By number, at the destination. */
  #there = new Map<number, SentFile>();

  /** What the destination has is not known any more. */
  forget(): void {
    this.#there.clear();
  }

  /** Sends what the destination lacks; `before` was written to at the last pass. Answers how many files it has written. */
  async send(where: LogWhere, before: CurrentLog | undefined, pass: LogPass): Promise<number> {
    if (before === undefined && this.#there.size === 0) return this.#sendRest(where, undefined, pass);
    try {
      await this.#rename(where, pass);
      return await this.#sendRest(where, before, pass);
    } catch (error) {
      if (pass.signal.aborted) throw error;
      // Docker may have rotated there as well, or an agent started anew knows nothing: all of it, then.
      this.forget();
      return this.#sendRest(where, undefined, pass);
    }
  }

  /** Has files renamed that have another number now. */
  async #rename({ path, limits }: LogWhere, { jobs, priority, signal }: LogPass): Promise<void> {
    const there = new Map(this.#there);
    const files: { file: number; was: number; packed: boolean }[] = [];
    for (const file of await numbersOf(path, limits)) {
      const found = await look(`${path}.${file}`);
      const [was, sent] = [...there].find(([, each]) => found !== undefined && isSame(each, found)) ?? [];
      if (was === undefined || sent === undefined || was > file) continue;
      there.delete(was);
      if (was === file) continue;
      files.push({ file, was, packed: sent.packed });
    }
    if (files.length === 0) return;
    await jobs.run({ kind: "logRenames", files }, priority, signal, () => Promise.resolve());
    for (const { file, was } of files) {
      const sent = this.#there.get(was);
      this.#there.delete(was);
      if (sent !== undefined) this.#there.set(file, sent);
    }
  }

  /** The oldest first: what is moved on meanwhile is then sent twice rather than never. */
  async #sendRest(where: LogWhere, before: CurrentLog | undefined, pass: LogPass): Promise<number> {
    let files = 0;
    for (const file of await numbersOf(where.path, where.limits)) {
      const name = `${where.path}.${file}`;
      // Docker, too, looks for the one that is not packed first: the other may be half written.
      const plain = await openOptional(name);
      const handle = plain ?? (await openOptional(`${name}.gz`));
      if (handle === undefined) continue;
      try {
        files += await this.#sendFile({ file, handle, isPlain: plain !== undefined }, where, before, pass);
      } finally {
        await handle.close();
      }
    }
    return files;
  }

  async #sendFile(
    { file, handle, isPlain }: { file: number; handle: FileHandle; isPlain: boolean },
    { limits }: LogWhere,
    before: CurrentLog | undefined,
    { jobs, priority, signal }: LogPass,
  ): Promise<number> {
    const { ino, size, mtimeNs } = await handle.stat({ bigint: true });
    const found = { inode: ino, size, mtimeNs };
    const there = this.#there.get(file);
    if (there !== undefined && isSame(there, found)) return 0;
    // Docker moves none but packed ones on there.
    const packing = limits.compress && isPlain;
    const goesOn = before?.inode === ino && !packing && before.read <= Number(size) ? before : undefined;
    const packed = limits.compress || !isPlain;
    const spec = { kind: "log", file, packed, from: goesOn?.sent ?? 0 } as const;
    await jobs.run(spec, priority, signal, async (job) => {
      const frames = new FrameFiller(job);
      const content = readFrom(handle, goesOn?.read ?? 0, Number(size));
      for await (const bytes of packing ? pack(content) : content)
        for (const part of goesOn?.padding.strip(bytes) ?? [bytes]) await frames.add(part);
      await frames.flush();
    });
    this.#there.set(file, { ...found, packed });
    return 1;
  }
}

/** Of the rotated files that there are just now, the oldest first: Docker may keep hundreds, and few be there. */
async function numbersOf(path: string, { maxFiles }: LogLimits): Promise<number[]> {
  const prefix = `${basename(path)}.`;
  const numbers = (await readdir(dirname(path)))
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number(/^(\d+)(\.gz)?$/.exec(name.slice(prefix.length))?.[1]))
    .filter((number) => number >= 1 && number < maxFiles);
  return [...new Set(numbers)].sort((a, b) => b - a);
}

const isSame = (sent: SentFile, { inode, size, mtimeNs }: Found): boolean =>
  sent.inode === inode && sent.size === size && sent.mtimeNs === mtimeNs;

/** One that was packed meanwhile is another file. */
async function look(name: string): Promise<Found | undefined> {
  for (const each of [name, `${name}.gz`]) {
    try {
      const { ino, size, mtimeNs } = await stat(each, { bigint: true });
      return { inode: ino, size, mtimeNs };
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
  }
  return undefined;
}
