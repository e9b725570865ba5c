/**
 * The restorer's side of deploy/dmigrate-runc: the spec directory of a container and its FIFOs. While this process
 * holds `answer` and `release` open, the wrapper and its hook wait; when they are closed, by us or by our death, both
 * give up at once, and the container is not started.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import { chmod, mkdir, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { run } from "../../shared/adapters/run.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";

const fifos = ["request", "answer", "root", "release", "ended"];
const maxRequestBytes = 8192;

export interface WrapperRequest {
  /** Path of the wrapper: the hook is the same script. */
  wrapper: string;
  bundle: string;
}

export interface Gate {
  /** Resolves once the wrapper waits. */
  request(signal: AbortSignal): Promise<WrapperRequest>;
  /** Lets the wrapper restore from these images. One system call. */
  go(imagesDir: string, workDir: string): void;
  /** Ends the wait of wrapper and hook; the container is not started. */
  stop(reason: string): void;
  /** Lets go of the FIFOs; whoever still waits gives up. */
  close(): void;
}

/** Makes the spec directory: from here on the wrapper never starts this container by itself. */
export async function makeSpecDir(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await chmod(dir, 0o700);
  const made = await run("mkfifo", ["-m", "600", ...fifos.map((name) => join(dir, name))], { timeoutMs: 5_000 });
  if (made.exitCode !== 0) throw new DmigrateError("internal", `mkfifo in ${dir} failed: ${made.stderr.trim()}`);
}

/** Opens the FIFOs of a spec directory. Must be done before Docker is asked to start the container. */
export function openGate(dir: string): Gate {
  // Read and write: opening never waits for the other side, and no end is seen while we live.
  const open = (name: string): number => openSync(join(dir, name), constants.O_RDWR | constants.O_NONBLOCK);
  const fds = new Map(["request", "answer", "release"].map((name) => [name, open(name)]));
  const write = (name: string, text: string): void => {
    const fd = fds.get(name);
    if (fd !== undefined) writeSync(fd, text);
  };
  const close = (name: string): void => {
    const fd = fds.get(name);
    if (fd !== undefined && fds.delete(name)) closeSync(fd);
  };
  return {
    async request(signal) {
      const fd = fds.get("request");
      if (fd === undefined) throw new DmigrateError("internal", "the wrapper's request was read already");
      fds.delete("request"); // The socket closes it.
      const line = await readLine(fd, signal);
      const [, wrapper = "", bundle = ""] = /^(\S+) (\/.+)$/.exec(line) ?? [];
      if (!wrapper.startsWith("/") || bundle === "")
        throw new DmigrateError(
          "internal",
          "the runtime wrapper's request is not one that we know; is it of this version?",
        );
      return { wrapper, bundle };
    },
    go: (imagesDir, workDir) => write("answer", `go ${imagesDir} ${workDir}\n`),
    stop(reason) {
      write("release", "stop\n");
      write("answer", `stop ${reason.replaceAll(/["\\\p{Cc}]/gu, " ").slice(0, 500)}\n`);
    },
    close: () => [...fds.keys()].forEach(close),
  };
}

function readLine(fd: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new Socket({ fd, readable: true, writable: false, signal });
    let text = "";
    const settle = (action: () => void): void => {
      socket.destroy();
      action();
    };
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) settle(() => resolve(text.slice(0, end)));
      else if (text.length > maxRequestBytes)
        settle(() => reject(new DmigrateError("internal", "the runtime wrapper's request has no end")));
    });
    socket.on("error", (cause) =>
      settle(() => reject(new DmigrateError("cancelled", "no longer waiting for the runtime wrapper", { cause }))),
    );
  });
}

/** What the wrapper left behind: exit code of `runc restore`, host pid of the root task. */
export interface WrapperResult {
  status?: number;
  pid?: number;
}

export function readResult(dir: string): WrapperResult {
  const status = readNumber(join(dir, "status"));
  const pid = readNumber(join(dir, "pid"));
  return { ...(status !== undefined && { status }), ...(pid !== undefined && { pid }) };
}

function readNumber(path: string): number | undefined {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
