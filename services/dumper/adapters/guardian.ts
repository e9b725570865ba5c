/** Starts and talks to guardian.sh, which thaws a container when this process is lost before the checkpoint is sealed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Freezer } from "../../shared/adapters/cgroup.ts";
import { DmigrateError } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";

const script = fileURLToPath(new URL("guardian.sh", import.meta.url));

export interface Guardian {
  readonly pid: number;
  /** CRIU runs in this process group: it is ended before the thaw. */
  dumping(group: number): void;
  dumped(): void;
  /** From now on the container stays frozen whatever happens to this process. */
  seal(): void;
  /** Ends the guardian; nothing is thawed. */
  release(): void;
}

/** Resolves once it runs. It leads a session of its own, so that what ends the dumper's group does not end it. */
export async function startGuardian(freezer: Freezer, log: Log): Promise<Guardian> {
  const { file, thaw } = freezer.control;
  const child = spawn("sh", [script, file, thaw], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  try {
    await once(child, "spawn", { signal: AbortSignal.timeout(5000) });
  } catch (cause) {
    throw new DmigrateError("unavailable", `the guardian (${script}) cannot be started with sh`, { cause });
  }
  const { pid } = child;
  if (pid === undefined) throw new DmigrateError("internal", "a child that was started has no pid");
  let released = false;
  child.once("exit", (code, signal) => {
    if (!released) log.error({ code, signal, freezer: freezer.dir }, "the guardian of a frozen container has ended");
  });
  child.stdin.on("error", (err) => log.error({ err, freezer: freezer.dir }, "the guardian does not listen"));
  child.unref();
  const tell = (line: string): void => {
    if (child.stdin.writable) child.stdin.write(`${line}\n`);
  };
  return {
    pid,
    dumping: (group) => tell(`dump ${group}`),
    dumped: () => tell("dumped"),
    seal: () => tell("seal"),
    release: () => {
      released = true;
      if (child.stdin.writable) child.stdin.end("release\n");
    },
  };
}
