/**
 * The restorer's side of deploy/dmigrate-runc: the spec directory of a container and its FIFOs. While this process
 * holds them open, the wrapper, runc and the hook wait; when they are closed, by us or by our death, all give up at
 * once, and the container is not started.
 *
 * runc itself is kept waiting for the checkpoint: of all images it reads descriptors.json alone, as the last thing
 * before it calls CRIU, and here that is a FIFO. All that runc does before is then done before the downtime.
 */
import { closeSync, constants, openSync, readFileSync, watch, writeFileSync, writeSync } from "node:fs";
import { chmod, mkdir, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeNodeAt, openTrustedDirectory } from "../../shared/adapters/linux.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";

/** runc's own image: what the container's stdin, stdout and stderr were. */
export const descriptorsName = "descriptors.json";
const fifos = ["request", "answer", "root", "release", "ended", join("images", descriptorsName)];
const fifoMode = constants.S_IFIFO | constants.S_IRUSR | constants.S_IWUSR;
const readerPollMs = 3;
const maxRequestBytes = 8192;

export interface WrapperRequest {
  /** Path of the wrapper: the hook is the same script. */
  wrapper: string;
  bundle: string;
}

export interface Gate {
  /** Where runc looks for images; empty but for the FIFO. */
  readonly imagesDir: string;
  /** Resolves once the wrapper has called. */
  request(signal: AbortSignal): Promise<WrapperRequest>;
  /** Lets runc get ready. `workDir` has no white space. */
  answer(mode: "plain" | "hook", workDir: string): void;
  /** Resolves once runc is ready and waits for the checkpoint. */
  runcReady(signal: AbortSignal): Promise<void>;
  /** Lets runc restore: all images but this one are in place. Throws when runc waits no longer. */
  release(descriptors: Buffer): void;
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
  await mkdir(join(dir, "images"), { mode: 0o700 });
  const fd = openTrustedDirectory(dir);
  try {
    for (const name of fifos) makeNodeAt(fd, Buffer.from(name), fifoMode, 0, 0);
  } finally {
    closeSync(fd);
  }
}

/** Opens the FIFOs of a spec directory. Must be done before Docker is asked to start the container. */
export function openGate(dir: string): Gate {
  const imagesDir = join(dir, "images");
  // Read and write: opening never waits for the other side, and no end is seen while we live.
  const open = (name: string, flags = constants.O_RDWR): number =>
    openSync(join(dir, name), flags | constants.O_NONBLOCK);
  const fds = new Map(["request", "answer", "release"].map((name) => [name, open(name)]));
  // Of this one we must not be a reader ourselves, or we could not tell whether runc is; opening needs one for a moment.
  const reader = open(join("images", descriptorsName));
  fds.set(descriptorsName, open(join("images", descriptorsName), constants.O_WRONLY));
  closeSync(reader);
  const write = (name: string, data: string | Buffer): void => {
    const fd = fds.get(name);
    if (fd === undefined) throw new DmigrateError("internal", `FIFO ${name} of ${dir} is closed`);
    if (writeSync(fd, Buffer.from(data)) !== data.length)
      throw new DmigrateError("internal", `FIFO ${name} of ${dir} does not take ${data.length} bytes`);
  };
  const close = (name: string): void => {
    const fd = fds.get(name);
    if (fd !== undefined && fds.delete(name)) closeSync(fd);
  };
  return {
    imagesDir,
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
    answer: (mode, workDir) => write("answer", `${mode} ${workDir}\n`),
    async runcReady(signal) {
      for (;;) {
        try {
          // White space before JSON means nothing; without a reader it cannot be written.
          write(descriptorsName, " ");
          return;
        } catch (error) {
          if (!hasErrno(error, "EPIPE")) throw error;
        }
        await sleep(readerPollMs, undefined, { signal });
      }
    },
    release(descriptors) {
      writeFileSync(join(dir, "released"), "");
      write(descriptorsName, descriptors);
      close(descriptorsName);
    },
    stop(reason) {
      close(descriptorsName);
      if (fds.has("release")) write("release", "stop\n");
      if (fds.has("answer")) write("answer", `stop ${reason.replaceAll(/["\\\p{Cc}]/gu, " ").slice(0, 500)}\n`);
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

/**
 * Whether `runc restore` has succeeded: the wrapper alone says so, and only then. The container's tasks have run, be
 * they there still or not, so the source must never thaw again.
 */
export const hasRestored = (dir: string): boolean => readResult(dir).status === 0;

/** Resolves as soon as `hasRestored`; with `signal` aborted, never. Rejects when the directory cannot be watched. */
export function whenRestored(dir: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = watch(dir, { signal });
    const look = (): void => {
      if (!hasRestored(dir)) return;
      watcher.close();
      resolve();
    };
    watcher.on("change", look);
    watcher.on("error", reject);
    look();
  });
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
