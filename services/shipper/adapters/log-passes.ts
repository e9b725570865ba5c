/**
 * What an agent that dies while a container's log comes here leaves behind, and the one after it clears away: half a line,
 * which would keep Docker from reading on to its own, and files that had not come whole.
 *
 *     <stateDir>/migrations/<migrationId>/log-pass.json   while bytes of the log come
 */
import { constants, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { open, readdir, readFile, rm, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { hasErrno, messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { migrationPaths, migrationsDir } from "../../shared/node-paths.ts";
import { readFrom } from "./log-content.ts";

const passSchema = z.strictObject({
  path: z.string().startsWith("/"),
  /** Of the file, so that it is no other one by then. */
  inode: z.string().regex(/^\d+$/),
  /** Its part that the log comes into, and from where on it does. */
  bytes: z.int().min(0),
  from: z.int().min(0),
});
type NotedPass = z.infer<typeof passSchema>;

/** Far longer than what Docker makes of one line. */
const mostLineBytes = 2 << 20;
const lineEnd = 0x0a;
const space = 0x20;
const spaces = Buffer.alloc(64 * 1024, " ");
const arrivingName = /^\.\d+\.dmigrate$/;

const fileOf = (stateDir: string, migrationId: string): string =>
  join(migrationPaths(stateDir, migrationId).dir, "log-pass.json");

/** Keeps note of what comes into one log, as long as it comes. */
export class LogPasses {
  readonly #file: string;
  readonly #log: Omit<NotedPass, "from">;
  readonly #passes = new Set<{ from: number }>();

  constructor(stateDir: string, migrationId: string, log: Omit<NotedPass, "from">) {
    this.#file = fileOf(stateDir, migrationId);
    this.#log = log;
  }

  /** Bytes of the log are about to come, behind the first `from`. The answer is to be called once they are all there, or none will come. */
  begin(from: number): () => void {
    const pass = { from };
    this.#passes.add(pass);
    this.#note();
    return () => {
      if (this.#passes.delete(pass)) this.#note();
    };
  }

  #note(): void {
    if (this.#passes.size === 0) {
      rmSync(this.#file, { force: true });
      return;
    }
    const from = Math.min(...[...this.#passes].map((pass) => pass.from));
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    // In memory, and so small that it is there whole or not at all to whoever comes after this process.
    writeFileSync(this.#file, JSON.stringify({ ...this.#log, from } satisfies NotedPass), { mode: 0o600 });
  }
}

/** Clears away what agents before this one have left of logs. Never rejects. */
export async function mendLogs(stateDir: string, log: Log): Promise<void> {
  for (const migrationId of await readdir(migrationsDir(stateDir)).catch(() => [])) {
    const file = fileOf(stateDir, migrationId);
    try {
      const pass = passSchema.parse(JSON.parse(await readFile(file, "utf8")));
      log.warn({ migrationId, path: pass.path }, "the agent before this one ended while a container's log came");
      await mend(pass);
    } catch (error) {
      if (hasErrno(error, "ENOENT")) continue;
      log.error({ migrationId, reason: messageOf(error) }, "what came of a container's log cannot be put in order");
    }
    await rm(file, { force: true }).catch(() => undefined);
  }
}

async function mend({ path, inode, bytes, from }: NotedPass): Promise<void> {
  const [dir, name] = [dirname(path), basename(path)];
  for (const each of await readdir(dir))
    if (each.startsWith(name) && arrivingName.test(each.slice(name.length))) await rm(join(dir, each), { force: true });
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { ino } = await handle.stat({ bigint: true });
    if (ino.toString() === inode) await blankBrokenLines(handle, from, bytes);
  } finally {
    await handle.close();
  }
}

/** Makes spaces of lines that are none of Docker's, from the line on that the byte at `from` is in. */
async function blankBrokenLines(handle: FileHandle, from: number, to: number): Promise<void> {
  const start = Math.max(0, from - mostLineBytes);
  let isFirst = start > 0;
  let line: Buffer[] = [];
  let [lineAt, lineBytes, at] = [start, 0, start];
  const endLine = async (): Promise<void> => {
    // What stands before the first line's end may have begun earlier.
    if (!isFirst && !isLine(line, lineBytes)) await blank(handle, lineAt, lineAt + lineBytes);
    isFirst = false;
    [line, lineBytes] = [[], 0];
  };
  for await (const chunk of readFrom(handle, start, to)) {
    for (let next = 0; next < chunk.length;) {
      if (lineBytes === 0) {
        while (chunk[next] === space) next++;
        lineAt = at + next;
        if (next === chunk.length) break;
      }
      const end = chunk.indexOf(lineEnd, next) + 1;
      const part = chunk.subarray(next, end > 0 ? end : chunk.length);
      lineBytes += part.length;
      if (lineBytes <= mostLineBytes) line.push(Buffer.from(part));
      next += part.length;
      if (end > 0) await endLine();
    }
    at += chunk.length;
  }
  if (lineBytes > 0) await endLine();
}

function isLine(parts: readonly Buffer[], bytes: number): boolean {
  if (bytes > mostLineBytes) return false;
  const text = Buffer.concat(parts).toString();
  if (!text.endsWith("\n")) return false;
  if (text.trim() === "") return true;
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

async function blank(handle: FileHandle, from: number, to: number): Promise<void> {
  for (let at = from; at < to;) {
    const { bytesWritten } = await handle.write(spaces, 0, Math.min(spaces.length, to - at), at);
    at += bytesWritten;
  }
}
