/**
 * A CRIU that was started before the container is frozen, and then dumps it on request.
 *
 * It is spoken to directly (`criu swrk`, as runc does): runc's checkpoint starts CRIU three times, and the last of them
 * inside the downtime. What it is asked for, and why, is in core/criu-rpc.ts; besides:
 * - `lazy_pages`: pages stay out of the images. CRIU would now serve them on a port that anyone may connect to, and
 *   hold the processes until then; we read /proc/PID/mem instead. It is given a socket whose other end is closed
 *   (`ps-socket`), so its page server ends at once.
 * - Processes with much memory are hidden from it (criu-apart.sh): to list a gigabyte of pages and to pin them takes CRIU
 *   a tenth of a second. Their memory images are ours to write (memory-writer.ts).
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, readlinkSync, readSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { spareFromOomKiller } from "../../shared/adapters/oom.ts";
import { commandLines, processGroupMembers, signalProcess } from "../../shared/adapters/processes.ts";
import { socketPair } from "../../shared/adapters/socket-pair.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import type { MigrationPaths } from "../../shared/node-paths.ts";
import { firstCriuError } from "../core/criu-log.ts";
import { decodeDumpAnswer, dumpLogName, encodeDumpRequest, type DumpRequest } from "../core/criu-rpc.ts";

const script = fileURLToPath(new URL("criu-apart.sh", import.meta.url));
const startTimeoutMs = 10_000;
/** How long a dump may go on after nobody wants it any more. */
const patienceMs = 10_000;
const maxAnswerBytes = 64 << 10;

/** What CRIU is told by file: `ps-socket` has no field in a request for lazy pages. The descriptor is set in `startCriu`. */
export const criuSettings = "ps-socket 4\n";

export interface Criu {
  /** Process group of CRIU. */
  readonly group: number;
  /** Host pids of the processes whose memory it does not see. */
  readonly hidden: ReadonlySet<number>;
  /** CRIU is gone: the freezer alone holds the container. Rejects with `timeout` when it cannot be killed. */
  readonly ended: Promise<void>;
  /** Dumps, once. Resolves when the images are complete and CRIU is gone. Rejects with `checkpoint-failed`, naming CRIU's first error. */
  dump(request: DumpRequest): Promise<void>;
  /** Waits until CRIU has let the processes go and is gone; one that hangs is killed in the end. */
  end(): Promise<void>;
}

/** Resolves once it waits for its request. `standIn`: pid of the process with next to no memory. */
export async function startCriu(paths: MigrationPaths, standIn: number, hide: readonly number[]): Promise<Criu> {
  // One packet each way, as CRIU's RPC has it.
  const pair = socketPair("packets");
  const command = ["--mount", "--propagation", "private", "--", "sh", script, paths.workDir, String(standIn)];
  const child = spawn("unshare", [...command, ...hide.map(String)], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe", pair.theirs, "pipe"],
  });
  closeSync(pair.theirs);
  let open = true;
  const closeOurs = (): void => {
    if (open) closeSync(pair.ours);
    open = false;
  };
  const pageSocket = child.stdio[4];
  pageSocket?.on("error", () => undefined);
  pageSocket?.destroy();
  const stderr = collectText(child);
  const exited = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  });
  const group = child.pid ?? 0;
  // Killed while it works inside the processes, it takes them with it.
  if (group !== 0) spareFromOomKiller(group);
  const ended = exited.then(() => (group === 0 ? undefined : endGroup(group)));
  ended.catch(() => undefined); // whoever asks meets it
  let asked = false;
  const end = async (): Promise<void> => {
    // Without a peer a CRIU that still waits for its request ends. After it the descriptor is the dump's, which reads the answer.
    if (!asked) closeOurs();
    if (group !== 0) await endGroup(group);
  };
  let hidden: Set<number>;
  try {
    hidden = await readReady(child, exited);
  } catch (error) {
    await end();
    throw new DmigrateError("unavailable", `CRIU could not be started: ${stderr() || String(error)}`, { cause: error });
  }
  return {
    group,
    hidden,
    ended,
    end,
    async dump(request) {
      if (!open) throw new DmigrateError("cancelled", "the dump was given up before it began");
      asked = true;
      try {
        const taken = send(pair.ours, encodeDumpRequest(request));
        await exited;
        await ended;
        await mustHaveSucceeded(taken ? readAnswer(pair.ours) : undefined, paths.workDir, stderr());
      } finally {
        closeOurs();
      }
    },
  };
}

async function readReady(child: ChildProcess, exited: Promise<void>): Promise<Set<number>> {
  if (child.stdout === null) throw new Error("CRIU has no stdout");
  const lines = createInterface(child.stdout);
  const gone = exited.then(() => {
    throw new Error("it ended at once");
  });
  gone.catch(() => undefined);
  const [line] = (await Promise.race([once(lines, "line", { signal: AbortSignal.timeout(startTimeoutMs) }), gone])) as [
    string,
  ];
  const [word, ...pids] = line.split(" ");
  if (word !== "ready") throw new Error(`it said: ${line}`);
  return new Set(pids.map(Number));
}

/** False when CRIU is gone. A packet is taken whole or not at all. */
function send(fd: number, packet: Buffer): boolean {
  try {
    writeSync(fd, packet);
    return true;
  } catch (error) {
    if (hasErrno(error, "EPIPE", "ECONNRESET")) return false;
    throw error;
  }
}

/** CRIU has ended, so what it had to say is there; nothing means that it was killed. */
function readAnswer(fd: number): Uint8Array | undefined {
  const buffer = Buffer.alloc(maxAnswerBytes);
  try {
    const length = readSync(fd, buffer, 0, buffer.length, null);
    return length === 0 ? undefined : buffer.subarray(0, length);
  } catch (error) {
    if (hasErrno(error, "ECONNRESET", "EAGAIN")) return undefined;
    throw error;
  }
}

async function mustHaveSucceeded(answer: Uint8Array | undefined, workDir: string, stderr: string): Promise<void> {
  const said = answer === undefined ? undefined : decodeDumpAnswer(answer);
  if (said?.success === true) return;
  const log = await readFile(join(workDir, dumpLogName), "utf8").catch(() => "");
  const why =
    said === undefined
      ? `it ended without an answer (${stderr || "was it killed?"})`
      : said.message || `it gave errno ${said.errno}`;
  const reason = firstCriuError(log) ?? why;
  throw new DmigrateError("checkpoint-failed", `CRIU could not dump the container: ${reason}`);
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
  throw new DmigrateError("timeout", `CRIU's process group ${group} does not end even after SIGKILL`);
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

/** Ends a CRIU that a dumper before this one has started, if it still runs. */
export async function endLeftoverCriu({ dir }: MigrationPaths): Promise<void> {
  for (const { hostPid, args } of commandLines()) {
    if (args.includes("swrk") && workingDirectory(hostPid).startsWith(`${dir}/`)) await endGroup(hostPid);
  }
}

function workingDirectory(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return ""; // It has ended.
  }
}

function collectText(child: ChildProcess): () => string {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    if (text.length < 65_536) text += chunk.toString("utf8");
  });
  return () => text.trim();
}
