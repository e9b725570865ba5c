/**
 * The page daemon's process: a group of its own, so that no Ctrl-C reaches it, and no end of the agent either. It is
 * started by one agent, and found again by the next.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { signalProcess } from "../../shared/adapters/processes.ts";
import { endYielding } from "../../shared/adapters/thread-priority.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { openChannel, type Channel } from "../page-daemon/channel.ts";
import {
  agentSocketName,
  outcomeName,
  outcomeSchema,
  type FromDaemon,
  type Outcome,
  type ToDaemon,
} from "../page-daemon/messages.ts";

export interface DaemonProcess {
  /** Undefined before it has said so, and when it could not be started. */
  readonly pid: number | undefined;
  send(message: ToDaemon): void;
  /** Resolves, with what ended it as far as that is known, once it is gone. */
  readonly ended: Promise<string>;
  /** Resolves with its answer of this kind. Rejects with its failure, its end, or `timeout`. */
  ask(message: ToDaemon, answer: FromDaemon["kind"], timeoutMs: number): Promise<void>;
  /** It need not yield any more, should it do so: by itself it might not get to know that on a busy node. */
  hurry(): void;
  /** Kills it, whatever it is doing. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Lets it go on without this process. */
  leave(): void;
}

type Hear = (message: FromDaemon) => void;

const program = join(import.meta.dirname, "..", "page-daemon", "main.ts");
/** For a daemon that is there to say so. */
const attachTimeoutMs = 5_000;

/** Starts it; returns at once. `onMessage` gets all that it says. */
export function startPageDaemon(onMessage: Hear): DaemonProcess {
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code ?? "?"}` : `signal ${signal}`));
  });
  // Node makes what is "pipe" to the child a socket, which goes both ways.
  const socket = child.stdio[3] as Socket;
  return converse(socket, ended, onMessage, {
    pid: () => child.pid,
    kill: () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    },
    hurry: () => {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) endYielding(child.pid);
    },
    leave: () => child.unref(),
  });
}

/**
 * Takes hold of the daemon that an agent before this one has started in `workDir`. Throws `not-found` when there is none
 * any more, and `timeout` when it does not answer.
 */
export async function attachPageDaemon(workDir: string, onMessage: Hear): Promise<DaemonProcess> {
  const socket = await connectIn(workDir);
  const attached = Promise.withResolvers<number>();
  // Its connection ends with the process; as long as it lasts, the pid is this process's.
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve("an unknown status")));
  const state: { pid?: number } = {};
  const hear = (message: FromDaemon): void => {
    if (message.kind === "attached") attached.resolve((state.pid = message.pid));
    else onMessage(message);
  };
  const daemon = converse(socket, ended, hear, {
    pid: () => state.pid,
    kill: () => {
      if (state.pid !== undefined && !socket.destroyed) signalProcess(state.pid, "SIGKILL");
    },
    hurry: () => undefined,
    leave: () => undefined,
  });
  const gone = new DmigrateError("not-found", "the page daemon ended just now");
  void ended.then(() => attached.reject(gone));
  const late = new DmigrateError("timeout", `the page daemon did not answer within ${attachTimeoutMs} ms`);
  const timer = setTimeout(() => attached.reject(late), attachTimeoutMs);
  try {
    await attached.promise;
    return daemon;
  } catch (error) {
    daemon.leave();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What a daemon left that has done its work; undefined when it has not. */
export function readOutcome(workDir: string): Outcome | undefined {
  try {
    return outcomeSchema.parse(JSON.parse(readFileSync(join(workDir, outcomeName), "utf8")));
  } catch {
    // Not there, or not whole, which comes to the same.
    return undefined;
  }
}

async function connectIn(workDir: string): Promise<Socket> {
  let directory: number | undefined;
  try {
    // By a descriptor, since the path may be too long for a socket's address.
    directory = openSync(workDir, "r");
    const socket = connect(`/proc/self/fd/${directory}/${agentSocketName}`);
    await once(socket, "connect");
    return socket;
  } catch (cause) {
    throw new DmigrateError("not-found", `there is no page daemon in ${workDir}: ${messageOf(cause)}`, { cause });
  } finally {
    if (directory !== undefined) closeSync(directory);
  }
}

function converse(
  socket: Socket,
  ended: Promise<string>,
  onMessage: Hear,
  handle: { pid: () => number | undefined; kill: () => void; hurry: () => void; leave: () => void },
): DaemonProcess {
  const waiting = new Set<Hear>();
  const channel: Channel<ToDaemon> = openChannel<ToDaemon>(socket, (value) => {
    const message = value as FromDaemon;
    for (const take of [...waiting]) take(message);
    onMessage(message);
  });
  return {
    get pid() {
      return handle.pid();
    },
    send: (message) => channel.send(message),
    ended,
    hurry: handle.hurry,
    ask: async (message, answer, timeoutMs) => {
      const { promise, resolve, reject } = Promise.withResolvers<undefined>();
      const take = (heard: FromDaemon): void => {
        if (heard.kind === answer) resolve(undefined);
        else if (heard.kind === "failed") reject(new DmigrateError(heard.code, heard.message));
      };
      const timer = setTimeout(
        () => reject(new DmigrateError("timeout", `the page daemon did not answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      void ended.then((how) => reject(new DmigrateError("unavailable", `the page daemon ended with ${how}`)));
      waiting.add(take);
      try {
        channel.send(message);
        await promise;
      } finally {
        waiting.delete(take);
        clearTimeout(timer);
      }
    },
    kill: async () => {
      handle.kill();
      await ended;
    },
    leave: () => {
      channel.close();
      handle.leave();
    },
  };
}
