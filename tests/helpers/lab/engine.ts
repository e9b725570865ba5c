/**
 * The outer engine: the Docker engine whose containers are the lab's nodes. One that answers already is used as it is. Else a
 * private `dockerd` is started with its own socket, pid file, bridge and data, away from any other engine's.
 *
 *   nobody uses it ──ensureEngine──> running, 1 user ──ensureEngine──> running, n users
 *         ^                                                                │
 *         └───────────── the last stop() ends it (engine-users.ts) ────────┘
 *
 * After a kill -9 of its users the engine stays up; the next run finds it, uses it, and ends it when done. What a kill -9 of
 * dockerd itself leaves behind is cleared away before the next one starts.
 */
import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { bridge, createBridge, removeBridge } from "./bridge.ts";
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
  readProc,
  run,
  startTimeOf,
  systemPath,
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

const defaultHost = "unix:///var/run/docker.sock";
const runDirectory = "/run/dmigrate-lab";
const cacheDirectory = "/var/lib/dmigrate-lab";
const namespace = "dmigrate-lab";
const users = join(runDirectory, "users");
const socket = join(runDirectory, "docker.sock");
const pidFile = join(runDirectory, "dockerd.pid");
const execRoot = join(runDirectory, "exec");
const logFile = join(runDirectory, "dockerd.log");
const dataRoot = join(cacheDirectory, "engine");
const privateHost = `unix://${socket}`;
const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;

/** Finds an engine that answers, or starts a private one. */
export async function ensureEngine(context: LabContext): Promise<Engine> {
  const given = process.env["DOCKER_HOST"];
  if (given !== undefined && given !== privateHost) {
    if (!(await answers(given))) throw new Error(`no Docker engine answers at DOCKER_HOST=${given}; mend or unset it`);
    return foreignEngine(given);
  }
  if (await answers(defaultHost)) return foreignEngine(defaultHost);
  if (process.getuid?.() !== 0) {
    throw new Error(
      "no Docker engine answers, and starting one takes root: start Docker, or set DOCKER_HOST, or run as root",
    );
  }
  await ensureProgram(context, "dockerd", ["docker.io", "iptables", "iproute2", ...apparmorPackages()]);
  if (systemdRuns() && (await answersSoon(defaultHost))) return foreignEngine(defaultHost);
  return exclusively(context.signal, () => usePrivateEngine(context));
}

function foreignEngine(dockerHost: string): Engine {
  return { dockerHost, startedByUs: false, stop: () => Promise.resolve() };
}

async function usePrivateEngine(context: LabContext): Promise<Engine> {
  const running = await answers(privateHost);
  const release = takeLease(users);
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
    dockerHost: privateHost,
    startedByUs: !running,
    stop: () =>
      (stopped ??= exclusively(undefined, async () => {
        release();
        if (countUsers(users) === 0) await step(context, "ended the Docker engine", endPrivateEngine);
      })),
  };
}

async function startPrivateEngine(signal: AbortSignal | undefined): Promise<void> {
  await endPrivateEngine();
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
  mkdirSync(dataRoot, { recursive: true, mode: 0o710 });
  const { mtu } = await createBridge();
  const log = openSync(logFile, "w", 0o600);
  // Its own session: Ctrl-C in a terminal must reach us first, so that the nodes go before the engine does.
  const dockerd = spawn(
    findProgram("dockerd") ?? "dockerd",
    [
      `--host=${privateHost}`,
      `--pidfile=${pidFile}`,
      `--exec-root=${execRoot}`,
      `--data-root=${dataRoot}`,
      // An empty file, so that settings of another engine on this machine do not get in.
      `--config-file=${emptyConfig()}`,
      `--containerd-namespace=${namespace}`,
      `--containerd-plugins-namespace=${namespace}-plugins`,
      "--storage-driver=overlay2",
      `--bridge=${bridge}`,
      `--mtu=${String(mtu)}`,
      "--iptables=false",
      "--ip6tables=false",
      "--shutdown-timeout=5",
      ...runtimeArguments(),
    ],
    { detached: true, stdio: ["ignore", log, log], env: { ...process.env, PATH: systemPath } },
  );
  closeSync(log);
  let exited: string | undefined;
  dockerd.once("error", (error) => (exited = error.message));
  dockerd.once("exit", (code, by) => (exited = `exit ${String(code ?? by)}`));
  dockerd.unref();
  const deadline = performance.now() + startTimeoutMs;
  while (!(await answers(privateHost))) {
    signal?.throwIfAborted();
    if (exited !== undefined || performance.now() > deadline) {
      const tail = lastLines(readFileSync(logFile, "utf8"));
      throw new Error(`the private Docker engine did not start (${exited ?? "no answer in time"}):\n${tail}`);
    }
    await sleep(100);
  }
}

/** Where CAP_SYS_RESOURCE is missing, a default runtime that takes it out of what a privileged container asks for. */
function runtimeArguments(): string[] {
  if (machineHasSysResource()) return [];
  // A copy outside of the checkout: another checkout may share this engine, and this one may go away.
  const wrapper = join(cacheDirectory, "runc-without-sys-resource");
  copyFileSync(join(import.meta.dirname, "runc-without-sys-resource"), wrapper);
  chmodSync(wrapper, 0o755);
  return [`--add-runtime=lab=${wrapper}`, "--default-runtime=lab"];
}

/** Where the kernel enforces AppArmor, dockerd calls its parser. */
function apparmorPackages(): string[] {
  const enabled = "/sys/module/apparmor/parameters/enabled";
  return existsSync(enabled) && readFileSync(enabled, "utf8").startsWith("Y") ? ["apparmor"] : [];
}

function emptyConfig(): string {
  const path = join(runDirectory, "daemon.json");
  writeFileSync(path, "{}");
  return path;
}

/** Ends the private engine and whatever is left of an earlier one: processes, mounts, bridge, rules. */
async function endPrivateEngine(): Promise<void> {
  const pid = readPid(pidFile);
  const isOurs = pid !== undefined && commandLineOf(pid)?.includes(`--pidfile=${pidFile}`) === true;
  const startTime = isOurs ? startTimeOf(pid) : undefined;
  if (pid !== undefined && startTime !== undefined) await endProcess({ pid, startTime }, stopTimeoutMs);
  await endLeftovers();
  for (const mount of mountsBelow([execRoot, dataRoot])) await run("umount", ["--lazy", mount]).catch(() => undefined);
  for (const path of [pidFile, socket]) rmSync(path, { force: true });
  rmSync(execRoot, { recursive: true, force: true });
  await removeBridge();
}

/**
 * A dockerd that ends in order takes its containers, their shims and its containerd along. One that was killed hard leaves them:
 * the shims first, so that nothing is started again, then what ran in the containers.
 */
async function endLeftovers(): Promise<void> {
  const helpers = findProcesses(
    ([program = "", ...words]) =>
      /^(containerd|containerd-shim.*|docker-proxy)$/.test(basename(program)) &&
      words.some((word) => word.startsWith(execRoot) || word === namespace),
  );
  await Promise.all(helpers.map((helper) => endProcess(helper, 2_000)));
  const directory = join(dataRoot, "containers");
  const ids = existsSync(directory) ? readdirSync(directory) : [];
  const contained = findProcesses((_, pid) => ids.some((id) => readProc(pid, "cgroup")?.includes(id) === true));
  await Promise.all(contained.map((process) => endProcess(process, 0)));
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
