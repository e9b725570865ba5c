/**
 * The page daemon: a process of its own for each migration, child of the agent. Its end would make the restored
 * processes read zeros where their pages are missing, so it outlives the agent, takes no signal, and whatever goes wrong
 * ends when nobody needs it any more.
 */
import { spareFromOomKiller } from "../../shared/adapters/oom.ts";
import { asDmigrateError, messageOf } from "../../shared/errors.ts";
import { PageDaemon } from "./daemon.ts";
import type { FromDaemon, ToDaemon } from "./messages.ts";

const aloneCheckMs = 1_000;

let daemon: PageDaemon | undefined;

// A destination short of memory fills a container just now; the end of this process would cost the container.
spareFromOomKiller(process.pid);

function tell(message: FromDaemon): void {
  // Without the agent nobody needs to know.
  if (process.connected) process.send?.(message, () => undefined);
  if (message.kind === "drained" && !process.connected) process.exit(0);
}

function tellFailure(error: unknown): void {
  const { code, message } = asDmigrateError(error, "internal", "the page daemon failed");
  tell({ kind: "failed", code, message });
}

async function obey(message: ToDaemon): Promise<void> {
  switch (message.kind) {
    case "start":
      process.chdir(message.options.workDir);
      daemon = new PageDaemon(message.options, tell);
      await daemon.connect();
      tell({ kind: "ready" });
      return;
    case "serve":
      daemon?.learn(message.processes);
      tell({ kind: "serving" });
      return;
    case "stop":
      if (!message.force && daemon?.needed === true) tell({ kind: "refused" });
      else process.exit(0);
      return;
  }
}

/** The agent is gone: goes on for those who need it. */
function goOnAlone(): void {
  if (daemon?.needed !== true) process.exit(0);
  setTimeout(goOnAlone, aloneCheckMs);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("uncaughtException", (error) => {
  process.stderr.write(`page daemon: ${messageOf(error)}\n`);
  tellFailure(error);
});
process.on("disconnect", goOnAlone);
process.on("message", (message: ToDaemon) => void obey(message).catch(tellFailure));
