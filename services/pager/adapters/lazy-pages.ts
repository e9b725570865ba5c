/**
 * The child `criu lazy-pages`: it takes the userfaultfds of the restored processes and asks us for their pages.
 *
 * Its death is not harmless. Once the processes run, the kernel fills their missing pages with zeros as soon as the last
 * descriptor of a userfaultfd closes. So CRIU must see no end of its connection while it lives, also when this process is
 * killed: it inherits both ends of the socket pair, and being a process group of its own, no Ctrl-C reaches it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import type { SocketPair } from "./socket-pair.ts";

export interface LazyPages {
  readonly pid: number;
  /** Resolves once its socket takes the restore's connection. Rejects with `restore-failed` when it ended before. */
  readonly ready: Promise<void>;
  /** Resolves when it has ended: undefined for success, else the error with the first one of its log. */
  readonly ended: Promise<DmigrateError | undefined>;
  /** Kills it, whatever it is doing. Resolves when it is gone. */
  kill(): Promise<void>;
}

export interface LazyPagesOptions {
  criu: string;
  imagesDir: string;
  workDir: string;
  pair: SocketPair;
}

const spinNiceness = 10;
const logName = "lazy-pages.log";
const maxStderrBytes = 4096;

/** Starts it; returns at once. */
export function startLazyPages({ criu, imagesDir, workDir, pair }: LazyPagesOptions): LazyPages {
  const args = ["lazy-pages", "--images-dir", imagesDir, "--work-dir", workDir, "-v1", "-o", logName];
  const child = spawn(criu, [...args, "--page-server", "--ps-socket", "4", "--status-fd", "3"], {
    stdio: ["ignore", "ignore", "pipe", "pipe", pair.theirsFd, pair.oursFd],
    detached: true,
  });
  pair.closeTheirs();
  if (child.pid !== undefined) yieldTheProcessor(child.pid);
  const stderr = collectHead(child.stderr as Readable);
  const ended = new Promise<DmigrateError | undefined>((resolve) => {
    child.once("error", (cause) =>
      resolve(
        new DmigrateError("unavailable", `${criu} could not be started: ${cause.message}; install CRIU`, { cause }),
      ),
    );
    child.once("exit", (exitCode, signal) => {
      if (exitCode === 0) {
        resolve(undefined);
        return;
      }
      void firstError(join(workDir, logName), stderr).then((reason) => {
        const how = signal === null ? `exit code ${exitCode ?? "?"}` : `signal ${signal}`;
        resolve(new DmigrateError("restore-failed", `criu lazy-pages ended with ${how}: ${reason}`));
      });
    });
  });
  const status = child.stdio[3] as Readable;
  const ready = Promise.race([
    once(status, "data").then(() => undefined),
    ended.then((error) => {
      throw error ?? new DmigrateError("restore-failed", "criu lazy-pages ended before it was ready");
    }),
  ]);
  // Whoever waits for it gets the failure; when nobody does any more, `ended` tells.
  ready.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    ready,
    ended,
    kill: async () => {
      if (child.pid !== undefined) killGroup(child.pid);
      await ended;
    },
  };
}

/**
 * While it waits for an answer CRIU asks for events in a loop without a pause. As nice as can be, it spins only when
 * nobody else has work: it must not take the processor from those who fetch the answer.
 */
function yieldTheProcessor(pid: number): void {
  try {
    setPriority(pid, spinNiceness);
  } catch (error) {
    // It may have ended already; and it is only slower without.
    if (!hasErrno(error, "ERR_SYSTEM_ERROR")) throw error;
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (!hasErrno(error, "ESRCH")) throw error;
  }
}

function collectHead(stream: Readable): () => string {
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    if (text.length < maxStderrBytes) text += chunk.toString();
  });
  return () => text;
}

/** The first error in CRIU's log, or what it wrote to stderr when it came to no log. */
async function firstError(logPath: string, stderr: () => string): Promise<string> {
  const log = await readFile(logPath, "utf8").catch(() => "");
  const lines = `${log}\n${stderr()}`.split("\n");
  return lines.find((line) => line.includes("Error"))?.trim() ?? `no error in ${logPath}`;
}
