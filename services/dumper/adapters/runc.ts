/**
 * `runc checkpoint` of a frozen container, with the memory left where it is.
 *
 * The plan: the control group is frozen before CRIU comes and CRIU leaves it frozen (it restores the state it found), so
 * from its end on nothing but the freezer holds the container. Hence:
 * - `--leave-running`: CRIU gives registers, sockets and network back as they were, whatever ends it; killing the
 *   source is ours to do, at the commit.
 * - `--lazy-pages`: pages stay out of the images. CRIU would now serve them on a port that anyone may connect to, and
 *   hold the processes until then; we read /proc/PID/mem instead. It is given a socket whose other end is closed
 *   (`ps-socket`), so its page server ends at once: no port, no connection to keep, no page pipe to enlarge.
 * - `network-lock skip`: the lock would be taken off again before we are told, and costs a tenth of a second.
 * - `--file-locks`: a database holds locks on its files, and without it CRIU refuses them inside the freeze.
 * - A copy of runc's state directory carries CRIU's settings (see core/runc-state.ts); Docker's own is only read.
 */
import { spawn, type ChildProcess } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { commandLines, processGroupMembers, readProcess, signalProcess } from "../../shared/adapters/processes.ts";
import { run } from "../../shared/adapters/run.ts";
import { DmigrateError, hasErrno, messageOf } from "../../shared/errors.ts";
import type { MigrationPaths } from "../../shared/node-paths.ts";
import { firstCriuError, lastRuncMessage } from "../core/criu-log.ts";
import { withCriuConfig } from "../core/runc-state.ts";

const pageSocketFd = 4;
const statusFd = 5;
/** How long a dump may go on after nobody wants it any more. */
const patienceMs = 10_000;
/** A connection that waits in a listener's queue is dropped like all others; CRIU would else refuse the whole dump. */
const criuSettings = `ps-socket ${pageSocketFd}\nnetwork-lock skip\nskip-in-flight\n`;

interface DumpFiles {
  runcRoot: string;
  criuConfig: string;
  statusPipe: string;
}

function dumpFiles({ dir }: MigrationPaths): DumpFiles {
  return { runcRoot: join(dir, "runc"), criuConfig: join(dir, "criu.conf"), statusPipe: join(dir, "dump-status") };
}

/** Puts everything a dump needs in its place, while the container still runs. */
export async function prepareDump(containerId: string, initPid: number, paths: MigrationPaths): Promise<void> {
  const { runcRoot, criuConfig, statusPipe } = dumpFiles(paths);
  const state = readFileSync(join(runcStateDir(containerId, initPid), "state.json"), "utf8");
  removeDump(paths);
  const own = join(runcRoot, containerId);
  for (const dir of [own, paths.imagesDir, paths.workDir]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(criuConfig, criuSettings, { mode: 0o600 });
  writeFileSync(join(own, "state.json"), withCriuConfig(state, criuConfig), { mode: 0o600 });
  const made = await run("mkfifo", ["-m", "600", statusPipe], { timeoutMs: 5000 });
  if (made.exitCode !== 0) throw new DmigrateError("internal", `mkfifo failed: ${made.stderr.trim()}`);
}

/**
 * Removes what the dump left on this node, and the migration's directory when nobody else uses it. With `keepLog` CRIU's
 * log is kept beside the checkpoint's record, for whoever looks into a failure.
 */
export function removeDump(paths: MigrationPaths, { keepLog }: { keepLog?: string } = {}): void {
  const { runcRoot, criuConfig, statusPipe } = dumpFiles(paths);
  if (keepLog !== undefined) keepFile(join(paths.workDir, "dump.log"), keepLog);
  for (const path of [runcRoot, criuConfig, statusPipe, paths.imagesDir, paths.workDir])
    rmSync(path, { recursive: true, force: true });
  try {
    rmdirSync(paths.dir);
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "ENOTEMPTY")) throw error;
  }
}

function keepFile(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
  }
}

/** Where runc keeps the container: the shim that is its parent has written it into its bundle. */
function runcStateDir(containerId: string, initPid: number): string {
  const shim = readProcess(initPid)?.parent ?? 0;
  try {
    const args = readFileSync(`/proc/${shim}/cmdline`, "utf8").split("\0");
    const namespace = args[args.indexOf("-namespace") + 1] ?? "moby";
    const options = JSON.parse(readFileSync(`/proc/${shim}/cwd/options.json`, "utf8")) as { root?: string };
    return join(options.root ?? "/run/containerd/runc", namespace, containerId);
  } catch (cause) {
    throw new DmigrateError(
      "upstream",
      `runc's state of container ${containerId.slice(0, 12)} was not found through its shim (process ${shim}): ${messageOf(cause)}; is it run by runc?`,
      { cause },
    );
  }
}

export interface Dump {
  /** Process group of runc and CRIU. */
  readonly group: number;
  /** The images are complete. Rejects with `checkpoint-failed`, naming CRIU's first error. */
  readonly written: Promise<void>;
  /** runc and CRIU are gone: the freezer alone holds the container. Rejects with `timeout` when they cannot be killed. */
  readonly ended: Promise<void>;
  /** Waits until CRIU has let the processes go and is gone; one that hangs is killed in the end. */
  end(): Promise<void>;
}

/** Starts the dump. Call prepareDump before, and freeze the control group. */
export function startDump(containerId: string, paths: MigrationPaths): Dump {
  const { runcRoot, statusPipe } = dumpFiles(paths);
  const { imagesDir, workDir } = paths;
  const reader = openSync(statusPipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(statusPipe, constants.O_WRONLY | constants.O_NONBLOCK);
  // prettier-ignore
  const args = [
    "--root", runcRoot, "checkpoint", "--leave-running", "--lazy-pages", "--tcp-established", "--file-locks",
    "--status-fd", String(statusFd), "--image-path", imagesDir, "--work-path", workDir, containerId,
  ];
  // A pipe of Node's is a socket pair; runc wants its status descriptor to be for writing only, hence the FIFO.
  const child = spawn("runc", args, { detached: true, stdio: ["ignore", "ignore", "pipe", "ignore", "pipe", writer] });
  closeSync(writer);
  const pageSocket = child.stdio[pageSocketFd];
  pageSocket?.on("error", () => undefined);
  pageSocket?.destroy();
  const stderr = collectText(child);
  const status = new Socket({ fd: reader, readable: true, writable: false });
  const exited = new Promise<Error | undefined>((resolve) => {
    child.once("error", resolve);
    child.once("close", () => resolve(undefined));
  });
  const group = child.pid ?? 0;
  if (group !== 0) spareFromOomKiller(group);
  const ended = exited.then(() => (group === 0 ? undefined : endGroup(group)));
  ended.catch(() => undefined);
  const written = waitForStatus(status).then(async (complete) => {
    if (complete) return;
    const error = await exited;
    await ended;
    throw await dumpError(containerId, workDir, error?.message ?? stderr());
  });
  written.catch(() => undefined); // whoever asks meets it
  return { group, written, ended, end: () => (group === 0 ? Promise.resolve() : endGroup(group)) };
}

/** A CRIU that is killed while it works inside the processes takes them with it. */
function spareFromOomKiller(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "-1000");
  } catch {
    // Not allowed without CAP_SYS_RESOURCE, or it has ended already.
  }
}

/** True when the byte came that says the images are complete; false when the pipe ended without it. */
function waitForStatus(status: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    status.once("data", () => resolve(true));
    status.once("error", () => resolve(false));
    status.once("close", () => resolve(false));
  }).finally(() => status.destroy()) as Promise<boolean>;
}

/**
 * Waits for the end of what is left of a dump. CRIU ends by itself, and while it works inside the processes a signal may
 * cost one of them its life: SIGALRM (which CRIU takes for its timeout) and then SIGKILL are for one that hangs.
 */
async function endGroup(group: number): Promise<void> {
  if (await gone(group, patienceMs)) return;
  signalProcess(-group, "SIGALRM");
  if (await gone(group, 5000)) return;
  signalProcess(-group, "SIGKILL");
  if (await gone(group, 5000)) return;
  throw new DmigrateError("timeout", `runc's process group ${group} does not end even after SIGKILL`);
}

async function gone(group: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  // The cheap question first; a zombie that nobody reaps answers it, but holds nothing.
  while (signalProcess(-group, 0) && processGroupMembers(group).length > 0) {
    if (performance.now() > deadline) return false;
    await sleep(2);
  }
  return true;
}

/** Ends a dump that a dumper before this one has started, if it still runs. */
export async function endLeftoverDump(paths: MigrationPaths): Promise<void> {
  for (const { hostPid, args } of commandLines()) {
    if (args.includes("checkpoint") && args.includes(paths.imagesDir)) await endGroup(hostPid);
  }
}

function collectText(child: ChildProcess): () => string {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    if (text.length < 65_536) text += chunk.toString("utf8");
  });
  return () => text;
}

async function dumpError(containerId: string, workDir: string, runcSays: string): Promise<DmigrateError> {
  const log = join(workDir, "dump.log");
  const text = await readFile(log, "utf8").catch(() => "");
  const reason =
    firstCriuError(text) ??
    `it ended without an error; was it killed? runc says: ${lastRuncMessage(runcSays) ?? "nothing"}`;
  return new DmigrateError("checkpoint-failed", `CRIU could not dump container ${containerId.slice(0, 12)}: ${reason}`);
}

/** Bytes of all files of the images directory. */
export async function directoryBytes(dir: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(dir)).map(async (name) => {
      try {
        return (await stat(join(dir, name))).size;
      } catch (error) {
        if (hasErrno(error, "ENOENT")) return 0;
        throw error;
      }
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
