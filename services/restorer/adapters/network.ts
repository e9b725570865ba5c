/** Attaches the container's network before there is a container: Docker's own hook, run on a namespace of ours. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DmigrateError } from "../../shared/errors.ts";
import { run } from "../../shared/adapters/run.ts";
import type { NetworkHook } from "../core/bundle-config.ts";

export interface AttachOptions {
  containerId: string;
  bundle: string;
  hook: NetworkHook;
  /** NAME=VALUE, set in the namespace. */
  sysctls: readonly string[];
  timeoutMs: number;
}

/** Says that it is there, then holds its network namespace until its stdin ends: with us, at the latest. */
const holdScript = 'if [ $# -gt 0 ]; then sysctl -q -w "$@" || exit 1; fi; echo ready; read -r _';

/**
 * Resolves with the path at which Docker keeps the namespace, once interfaces, addresses and routes are in it. From then
 * on it is Docker's, which removes it with the container's network.
 */
export async function attachNetwork(options: AttachOptions): Promise<string> {
  const { containerId, bundle, hook, sysctls, timeoutMs } = options;
  const holder = spawn("unshare", ["--net", "--", "sh", "-c", holdScript, "sh", ...sysctls], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const ended = once(holder, "exit");
  holder.stdin.on("error", () => undefined);
  try {
    const [line] = (await Promise.race([once(createInterface(holder.stdout), "line"), ended])) as [unknown];
    if (line !== "ready" || holder.pid === undefined)
      throw new DmigrateError(
        "internal",
        "no network namespace could be made for the container (unshare --net failed)",
      );
    const state = { ociVersion: "1.0.2", id: containerId, status: "creating", pid: holder.pid, bundle };
    const [name = "", ...args] = hook.args;
    const done = await run(hook.path, args, { argv0: name, input: JSON.stringify(state), timeoutMs });
    if (done.exitCode !== 0)
      throw new DmigrateError("upstream", `Docker could not attach the container's network: ${done.stderr.trim()}`);
    return await findNamespace(hook.namespacesDir, `/proc/${holder.pid}/ns/net`);
  } finally {
    holder.stdin.end("\n");
    await ended;
  }
}

/** The file in `dir` that is the same namespace as `path`. */
async function findNamespace(dir: string, path: string): Promise<string> {
  const wanted = await stat(path);
  for (const name of await readdir(dir)) {
    const file = join(dir, name);
    const found = await stat(file).catch(() => undefined);
    if (found?.ino === wanted.ino && found.dev === wanted.dev) return file;
  }
  throw new DmigrateError("upstream", `Docker attached the container's network, but keeps no namespace in ${dir}`);
}
