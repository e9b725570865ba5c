/**
 * The page daemon: a process of its own for each migration, started by the agent. Its end would make the restored
 * processes read zeros where their pages are missing, so it outlives the agent, takes no signal, and whatever goes wrong
 * ends when nobody needs it any more. The agent that started it is at descriptor 3; the next one comes by a socket.
 */
import { renameSync, rmSync, stat, writeFileSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { spareFromOomKiller } from "../../shared/adapters/oom.ts";
import { preferThisThread, yieldAllThreads } from "../../shared/adapters/thread-priority.ts";
import { asDmigrateError, hasErrno, messageOf } from "../../shared/errors.ts";
import { RestoreSocket } from "../adapters/restore-socket.ts";
import { BulkLanes } from "./bulk-lanes.ts";
import { openChannel, type Channel } from "./channel.ts";
import { PageDaemon } from "./daemon.ts";
import type { Holder } from "./held-elsewhere.ts";
import { rehearse } from "./rehearsal.ts";
import { agentSocketName, outcomeName, type FromDaemon, type Outcome, type ToDaemon } from "./messages.ts";

const aloneCheckMs = 1_000;
const leavePauseMs = 1_000;
const firstAgentFd = 3;

// Started ahead of need, as this process is.
const bulk = new BulkLanes();
// After that thread, and before those that wait for the kernel's word on this one's behalf: those of Node's pool, which
// begin with the first that it has to do.
preferThisThread();
stat(".", () => undefined);
const rehearsal = { stop: new AbortController(), over: Promise.resolve() };
let daemon: PageDaemon | undefined;
const agents = new Set<Channel<FromDaemon>>();
/** What an agent that comes later must know too: it is told once. */
let isNeeded = false;
let failure: FromDaemon | undefined;
/** Nobody needs this process any more; whether the next agent would find that written down. */
let drained: Extract<FromDaemon, { kind: "drained" }> | undefined;
let isOutcomeLeft = false;

// A destination short of memory fills a container just now; the end of this process would cost the container.
spareFromOomKiller(process.pid);

function tell(message: FromDaemon): void {
  if (message.kind === "needed") isNeeded = true;
  if (message.kind === "failed") failure = message;
  if (message.kind === "drained") {
    drained = message;
    leaveOutcome(message);
    void bulk.close();
  }
  for (const agent of agents) agent.send(message);
  if (message.kind === "drained" && agents.size === 0) goOnAlone();
}

/** The agent. */
const holder: Holder = {
  hold: (id, fd) => {
    tell({ kind: "hold", id, fd });
    return agents.size > 0;
  },
  letGo: (id) => tell({ kind: "letGo", id }),
};

function tellFailure(error: unknown): void {
  const { code, message } = asDmigrateError(error, "internal", "the page daemon failed");
  tell({ kind: "failed", code, message });
}

async function obey(message: ToDaemon): Promise<void> {
  switch (message.kind) {
    case "rehearse":
      yieldAllThreads(true);
      rehearsal.over = rehearse(bulk, rehearsal.stop.signal).catch(giveUp);
      await rehearsal.over;
      tell({ kind: "rehearsed" });
      return;
    case "start":
      yieldAllThreads(false);
      preferThisThread();
      rehearsal.stop.abort();
      await rehearsal.over;
      process.chdir(message.options.workDir);
      listenForAgents();
      daemon = new PageDaemon({ start: message.options, bulk, restore: new RestoreSocket(), holder, tell });
      await daemon.connect();
      tell({ kind: "ready" });
      return;
    case "serve":
      daemon?.learn(message.processes);
      tell({ kind: "serving" });
      return;
    case "letGone":
      daemon?.letGone(message.id);
      return;
    case "stop":
      if (!message.force && daemon?.needed === true) tell({ kind: "refused" });
      else await leave();
      return;
  }
}

function takeAgent(socket: Socket): Channel<FromDaemon> {
  const agent = openChannel<FromDaemon>(socket, (message) => void obey(message as ToDaemon).catch(tellFailure));
  agents.add(agent);
  void agent.closed.then(() => {
    agents.delete(agent);
    daemon?.holdAnew();
    if (agents.size === 0) goOnAlone();
  });
  return agent;
}

/** In the current directory, since a path to it may be too long for a socket. Only root gets at it. */
function listenForAgents(): void {
  process.umask(0o077);
  rmSync(agentSocketName, { force: true });
  rmSync(outcomeName, { force: true });
  const server = createServer((socket) => {
    const agent = takeAgent(socket);
    if (daemon !== undefined) agent.send({ kind: "stats", stats: daemon.stats() });
    if (isNeeded) agent.send({ kind: "needed" });
    if (failure !== undefined) agent.send(failure);
    if (drained !== undefined) agent.send(drained);
    agent.send({ kind: "attached", pid: process.pid });
    daemon?.holdAnew();
  });
  // Without it this daemon works as well; only the next agent would not find it.
  server.on("error", (error) => process.stderr.write(`page daemon: no agent can come back: ${messageOf(error)}\n`));
  server.listen(agentSocketName);
}

/** A thread that is ended within a system call would end the process by SIGABRT. */
async function leave(): Promise<void> {
  if (daemon === undefined) endAtOnce();
  await bulk.close();
  process.exit(0);
}

/** Of no use to a migration, for who knows what its threads do. */
function giveUp(error: unknown): void {
  process.stderr.write(`page daemon: the rehearsal failed: ${messageOf(error)}\n`);
  endAtOnce();
}

/** A usual exit waits for the threads, and one may wait for a page of the rehearsal. */
const endAtOnce = (): void => void process.kill(process.pid, "SIGKILL");

/** When there is no room for it, this process stays to tell, and tries again. */
function leaveOutcome({ drainMs, stats }: Outcome): void {
  try {
    writeFileSync(`${outcomeName}.tmp`, JSON.stringify({ drainMs, stats }), { mode: 0o600 });
    renameSync(`${outcomeName}.tmp`, outcomeName);
    isOutcomeLeft = true;
  } catch (error) {
    // Its directory was removed: nobody will look there.
    isOutcomeLeft = hasErrno(error, "ENOENT");
    if (!isOutcomeLeft) setTimeout(leaveOutcome, leavePauseMs, { drainMs, stats });
  }
}

/** The agent is gone: goes on for those who need it, until the next one is there. */
function goOnAlone(): void {
  if (agents.size > 0) return;
  const hasToTell = drained !== undefined && !isOutcomeLeft;
  if (daemon?.needed !== true && !hasToTell) {
    void leave();
    return;
  }
  setTimeout(goOnAlone, aloneCheckMs);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("uncaughtException", (error) => {
  process.stderr.write(`page daemon: ${messageOf(error)}\n`);
  tellFailure(error);
});
takeAgent(new Socket({ fd: firstAgentFd }));
