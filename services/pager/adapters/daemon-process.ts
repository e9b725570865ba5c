/** The page daemon's process: a group of its own, so that no Ctrl-C reaches it, and no end of the agent either. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { DmigrateError } from "../../shared/errors.ts";
import type { FromDaemon, ToDaemon } from "../page-daemon/messages.ts";

export interface DaemonProcess {
  /** Resolves, with what ended it, once it is gone. */
  readonly ended: Promise<string>;
  /** Resolves with its answer of this kind. Rejects with its failure, its end, or `timeout`. */
  ask(message: ToDaemon, answer: FromDaemon["kind"], timeoutMs: number): Promise<void>;
  /** Kills it, whatever it is doing. Resolves when it is gone. */
  kill(): Promise<void>;
}

const program = join(import.meta.dirname, "..", "page-daemon", "main.ts");

/** Starts it; returns at once. `onMessage` gets all that it says. */
export function startPageDaemon(onMessage: (message: FromDaemon) => void): DaemonProcess {
  const child = fork(program, { detached: true, stdio: ["ignore", "ignore", "inherit", "ipc"], execArgv: [] });
  const waiting = new Set<(message: FromDaemon) => void>();
  child.on("message", (message: FromDaemon) => {
    for (const take of [...waiting]) take(message);
    onMessage(message);
  });
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code ?? "?"}` : `signal ${signal}`));
  });
  return {
    ended,
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
        child.send(message, (error) => {
          if (error !== null) reject(new DmigrateError("unavailable", `the page daemon is gone: ${error.message}`));
        });
        await promise;
      } finally {
        waiting.delete(take);
        clearTimeout(timer);
      }
    },
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    },
  };
}
