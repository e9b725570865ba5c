/**
 * The planner of a lab: a child process on the host, looked after as a service manager would. When it dies it is started again on
 * the same address with the same state, so a test in any process can restart it by killing it.
 *
 *   starting ──/readyz 200──> running ──exit──> starting again, after a pause
 *       └──exit──> startPlanner() fails                 stop() ends it from anywhere
 */
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { LabContext } from "./context.ts";
import { projectRoot } from "./images.ts";
import { endProcess, findProgram, lastLines, startTimeOf } from "./processes.ts";

/** What there is to know about a planner, as plain data. */
export interface PlannerFacts {
  readonly url: string;
  readonly token: string;
  /** Its state, its log and the file with its current pid are below this. */
  readonly directory: string;
}

/** A planner that this process looks after. */
export interface PlannerProcess extends PlannerFacts {
  stop(): Promise<void>;
}

const readyTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;
const restartPauseMs = 100;
const pollMs = 50;

/** Starts a planner and waits until it is ready. */
export async function startPlanner(
  context: LabContext,
  directory: string,
  env: Readonly<Record<string, string>>,
): Promise<PlannerProcess> {
  const port = await findFreePort();
  const facts = { url: `http://127.0.0.1:${String(port)}`, token: randomBytes(24).toString("base64url"), directory };
  const start = (): ChildProcess => spawnPlanner(facts, port, env);
  mkdirSync(directory, { recursive: true });
  let child = start();
  let stopping = false;
  let ready = false;
  let pause: NodeJS.Timeout | undefined;
  const startAgain = (): void => {
    // One that never came up would not do so by trying again.
    if (stopping || !ready) return;
    pause = setTimeout(() => {
      child = start();
      child.once("exit", startAgain);
    }, restartPauseMs);
  };
  child.once("exit", startAgain);
  const stop = async (): Promise<void> => {
    stopping = true;
    clearTimeout(pause);
    const { pid, exitCode, signalCode } = child;
    const startTime = pid === undefined ? undefined : startTimeOf(pid);
    if (pid === undefined || startTime === undefined || exitCode !== null || signalCode !== null) return;
    await endProcess({ pid, startTime }, stopTimeoutMs);
  };
  try {
    const hasExited = (): boolean => child.exitCode !== null || child.signalCode !== null;
    await waitUntilPlannerReady(facts, { signal: context.signal, hasExited });
  } catch (error) {
    await stop();
    throw error;
  }
  ready = true;
  return { ...facts, stop };
}

/** Kills a planner, as a crash would, and waits until the next one is ready. Works from any process of this machine. */
export async function restartPlanner(facts: PlannerFacts): Promise<void> {
  const killed = readPid(facts);
  process.kill(killed, "SIGKILL");
  const deadline = performance.now() + readyTimeoutMs;
  while (readPid(facts) === killed) {
    if (performance.now() > deadline) throw new Error("the planner was killed, but nobody started it again");
    await sleep(pollMs);
  }
  await waitUntilPlannerReady(facts);
}

/** What a planner logged so far, over all its starts. */
export function readPlannerLog({ directory }: PlannerFacts): string {
  return readFileSync(join(directory, "planner.log"), "utf8");
}

function spawnPlanner(facts: PlannerFacts, port: number, env: Readonly<Record<string, string>>): ChildProcess {
  const node = [process.execPath, join(projectRoot, "services/planner/main.ts")];
  // If we are killed it must not stay behind.
  const setpriv = findProgram("setpriv");
  const [program = "", ...args] = setpriv ? [setpriv, "--pdeathsig", "KILL", ...node] : node;
  const log = openSync(join(facts.directory, "planner.log"), "a");
  const child = spawn(program, args, {
    stdio: ["ignore", log, log],
    // In a group of its own: Ctrl-C is for us, and we stop it when its nodes need it no more.
    detached: true,
    env: {
      ...withoutOwnVariables(process.env),
      ...env,
      DMIGRATE_LISTEN: `127.0.0.1:${String(port)}`,
      DMIGRATE_TOKEN: facts.token,
      DMIGRATE_STATE_DIR: join(facts.directory, "state"),
    },
  });
  closeSync(log);
  // A failure to spawn shows as an exit without a pid.
  child.once("error", () => undefined);
  if (child.pid !== undefined) {
    const path = join(facts.directory, "planner.pid");
    writeFileSync(`${path}.new`, String(child.pid));
    renameSync(`${path}.new`, path);
  }
  return child;
}

function withoutOwnVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("DMIGRATE_")));
}

function readPid({ directory }: PlannerFacts): number {
  return Number.parseInt(readFileSync(join(directory, "planner.pid"), "utf8"), 10);
}

async function waitUntilPlannerReady(
  facts: PlannerFacts,
  { signal, hasExited }: { signal?: AbortSignal | undefined; hasExited?: () => boolean } = {},
): Promise<void> {
  const deadline = performance.now() + readyTimeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      if ((await fetch(`${facts.url}/readyz`, { signal: AbortSignal.timeout(2_000) })).ok) return;
    } catch {
      // Not listening yet.
    }
    if (hasExited?.() === true || performance.now() > deadline) {
      throw new Error(`the planner did not start:\n${lastLines(readPlannerLog(facts))}`);
    }
    await sleep(pollMs, undefined, signal && { signal });
  }
}

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
