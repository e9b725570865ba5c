/**
 * The outer engine: the Docker engine whose containers are the lab's nodes. One that answers already is used as it is. Else a
 * private `dockerd` is started with its own socket, pid file, bridge and data, away from any other engine's.
 *
 *   nobody uses it ──ensureEngine──> running, 1 user ──ensureEngine──> running, n users
 *         ^                                                                │
 *         └───────────── the last stop() ends it (engine-users.ts) ────────┘
 *
 * After a kill -9 of its users the engine stays up; the next run finds it, uses it, and ends it when done. After a kill -9 of
 * dockerd itself the next one takes over its containerd and ends the containers left running.
 */
import { spawn } from "node:child_process";
import { copyFileSync, chmodSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { BRIDGE, createBridge, removeBridge } from "./bridge.ts";
import { machineHasSysResource } from "./capabilities.ts";
import { step, type LabContext } from "./context.ts";
import { countUsers, exclusively, takeLease } from "./engine-users.ts";
import { dockerAt } from "./docker-client.ts";
import { ensureProgram, systemdRuns } from "./packages.ts";
import {
  commandLineOf,
  endProcess,
  findProcesses,
  findProgram,
  lastLines,
  run,
  startTimeOf,
  SYSTEM_PATH,
} from "./processes.ts";

/** A Docker engine that the lab may start containers on. */
export interface Engine {
  /** In the form of DOCKER_HOST. */
  readonly dockerHost: string;
  /** Whether this process started it (it may still be shared with runs that came later). */
  readonly startedByUs: boolean;
  /** Lets go of the engine: ends it when it is a private one and nobody else uses it. Calling it again does nothing. */
  stop(): Promise<void>;
}

const DEFAULT_HOST = "unix:///var/run/docker.sock";
const RUN_DIRECTORY = "/run/dmigrate-lab";
const CACHE_DIRECTORY = "/var/lib/dmigrate-lab";
const NAMESPACE = "dmigrate-lab";
const USERS = join(RUN_DIRECTORY, "users");
const SOCKET = join(RUN_DIRECTORY, "docker.sock");
const PID_FILE = join(RUN_DIRECTORY, "dockerd.pid");
const EXEC_ROOT = join(RUN_DIRECTORY, "exec");
const LOG_FILE = join(RUN_DIRECTORY, "dockerd.log");
const DATA_ROOT = join(CACHE_DIRECTORY, "engine");
const PRIVATE_HOST = `unix://${SOCKET}`;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

/** Finds an engine that answers, or starts a private one. */
export async function ensureEngine(context: LabContext): Promise<Engine> {
  const given = process.env["DOCKER_HOST"];
  if (given !== undefined && given !== PRIVATE_HOST) {
    if (!(await answers(given))) throw new Error(`no Docker engine answers at DOCKER_HOST=${given}; mend or unset it`);
    return foreignEngine(given);
  }
  if (await answers(DEFAULT_HOST)) return foreignEngine(DEFAULT_HOST);
  if (process.getuid?.() !== 0) {
    throw new Error(
      "no Docker engine answers, and starting one takes root: start Docker, or set DOCKER_HOST, or run as root",
    );
  }
  await ensureProgram(context, "dockerd", ["docker.io", "iptables", "iproute2"]);
  if (systemdRuns() && (await answersSoon(DEFAULT_HOST))) return foreignEngine(DEFAULT_HOST);
  return exclusively(context.signal, () => usePrivateEngine(context));
}

function foreignEngine(dockerHost: string): Engine {
  return { dockerHost, startedByUs: false, stop: () => Promise.resolve() };
}

async function usePrivateEngine(context: LabContext): Promise<Engine> {
  const running = await answers(PRIVATE_HOST);
  const release = takeLease(USERS);
  if (!running) {
    try {
      await step(context, "started a private Docker engine", () => startPrivateEngine(context.signal));
    } catch (error) {
      release();
      await endPrivateEngine();
      throw error;
    }
  }
  let stopped: Promise<void> | undefined;
  return {
    dockerHost: PRIVATE_HOST,
    startedByUs: !running,
    stop: () =>
      (stopped ??= exclusively(undefined, async () => {
        release();
        if (countUsers(USERS) === 0) await step(context, "ended the Docker engine", endPrivateEngine);
      })),
  };
}

async function startPrivateEngine(signal: AbortSignal | undefined): Promise<void> {
  await endPrivateEngine();
  mkdirSync(RUN_DIRECTORY, { recursive: true, mode: 0o700 });
  mkdirSync(DATA_ROOT, { recursive: true, mode: 0o710 });
  const { mtu } = await createBridge();
  const log = openSync(LOG_FILE, "w", 0o600);
  // Its own session: Ctrl-C in a terminal must reach us first, so that the nodes go before the engine does.
  const dockerd = spawn(
    findProgram("dockerd") ?? "dockerd",
    [
      `--host=${PRIVATE_HOST}`,
      `--pidfile=${PID_FILE}`,
      `--exec-root=${EXEC_ROOT}`,
      `--data-root=${DATA_ROOT}`,
      // An empty file, so that settings of another engine on this machine do not get in.
      `--config-file=${emptyConfig()}`,
      `--containerd-namespace=${NAMESPACE}`,
      `--containerd-plugins-namespace=${NAMESPACE}-plugins`,
      "--storage-driver=overlay2",
      `--bridge=${BRIDGE}`,
      `--mtu=${String(mtu)}`,
      "--iptables=false",
      "--ip6tables=false",
      "--shutdown-timeout=5",
      ...runtimeArguments(),
    ],
    { detached: true, stdio: ["ignore", log, log], env: { ...process.env, PATH: SYSTEM_PATH } },
  );
  closeSync(log);
  let exited: string | undefined;
  dockerd.once("error", (error) => (exited = error.message));
  dockerd.once("exit", (code, by) => (exited = `exit ${String(code ?? by)}`));
  dockerd.unref();
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await answers(PRIVATE_HOST))) {
    signal?.throwIfAborted();
    if (exited !== undefined || performance.now() > deadline) {
      const tail = lastLines(readFileSync(LOG_FILE, "utf8"));
      throw new Error(`the private Docker engine did not start (${exited ?? "no answer in time"}):\n${tail}`);
    }
    await sleep(100);
  }
}

/** Where CAP_SYS_RESOURCE is missing, a default runtime that takes it out of what a privileged container asks for. */
function runtimeArguments(): string[] {
  if (machineHasSysResource()) return [];
  // A copy outside of the checkout: another checkout may share this engine, and this one may go away.
  const wrapper = join(CACHE_DIRECTORY, "runc-without-sys-resource");
  copyFileSync(join(import.meta.dirname, "runc-without-sys-resource"), wrapper);
  chmodSync(wrapper, 0o755);
  return [`--add-runtime=lab=${wrapper}`, "--default-runtime=lab"];
}

function emptyConfig(): string {
  const path = join(RUN_DIRECTORY, "daemon.json");
  writeFileSync(path, "{}");
  return path;
}

/** Ends the private engine and whatever is left of an earlier one: processes, mounts, bridge, rules. */
async function endPrivateEngine(): Promise<void> {
  const pid = readPid(PID_FILE);
  const isOurs = pid !== undefined && commandLineOf(pid)?.includes(`--pidfile=${PID_FILE}`) === true;
  const startTime = isOurs ? startTimeOf(pid) : undefined;
  if (pid !== undefined && startTime !== undefined) await endProcess({ pid, startTime }, STOP_TIMEOUT_MS);
  // dockerd ends its containerd, and that its shims. What is still there belongs to one that was killed hard.
  const leftovers = findProcesses((commandLine) =>
    commandLine.some((word) => word.startsWith(EXEC_ROOT) || word === NAMESPACE),
  );
  await Promise.all(leftovers.map((leftover) => endProcess(leftover, 2_000)));
  for (const mount of mountsBelow([EXEC_ROOT, DATA_ROOT]))
    await run("umount", ["--lazy", mount]).catch(() => undefined);
  for (const path of [PID_FILE, SOCKET]) rmSync(path, { force: true });
  rmSync(EXEC_ROOT, { recursive: true, force: true });
  await removeBridge();
}

function mountsBelow(roots: readonly string[]): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => roots.some((root) => path === root || path.startsWith(`${root}/`)))
    .reverse();
}

function readPid(path: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(path, "utf8"), 10) || undefined;
  } catch {
    return undefined;
  }
}

async function answers(dockerHost: string): Promise<boolean> {
  try {
    await dockerAt(dockerHost, { timeoutMs: 5_000 }).ping();
    return true;
  } catch {
    return false;
  }
}

/** A service that its package has just started may need a moment. */
async function answersSoon(dockerHost: string): Promise<boolean> {
  for (let attempt = 0; attempt < 20; attempt++) {
    if (await answers(dockerHost)) return true;
    await sleep(100);
  }
  return false;
}
