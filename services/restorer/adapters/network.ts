/** Attaches the container's network before there is a container: what Docker's own hook does, done on a namespace of ours. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { run } from "../../shared/adapters/run.ts";
import type { NetworkHook } from "../core/bundle-config.ts";

/** A network namespace without anything in it, which a process of ours holds. */
export interface HeldNamespace {
  /** Resolves with the pid of its holder once it is there, and its settings (paths below /proc/sys) are made. Rejects with `internal`. */
  settle(settings: ReadonlyMap<string, string>): Promise<number>;
  /** Lets go of it. Harmless when called again. */
  end(): Promise<void>;
}

/** Says that it is there, makes settings (a line for the path, one for the value), and holds its namespace until its stdin ends: with us, at the latest. */
const holdScript = `echo ready
while read -r path; do
  IFS= read -r value && printf %s "$value" >"/proc/sys/$path" || exit 1
  echo set
done`;

/** Starts to make one; returns at once. It is gone after `timeoutMs`, whatever becomes of us. */
export function holdNamespace(timeoutMs: number): HeldNamespace {
  const holder = spawn("unshare", ["--net", "--", "sh", "-c", holdScript], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<void>((resolve) => {
    holder.once("error", () => resolve());
    holder.once("exit", () => resolve());
  });
  holder.stdin.on("error", () => undefined);
  const lines = createInterface(holder.stdout)[Symbol.asyncIterator]();
  const expect = async (word: string, failure: string): Promise<void> => {
    const { value } = (await lines.next()) as { value?: unknown };
    if (value !== word) throw new DmigrateError("internal", failure);
  };
  return {
    settle: async (settings) => {
      await expect("ready", "no network namespace could be made for the container (unshare --net failed)");
      for (const [path, value] of settings) {
        if (value.includes("\n")) throw new DmigrateError("internal", `the setting ${path} has more than one line`);
        holder.stdin.write(`${path}\n${value}\n`);
        await expect("set", `the setting ${path} could not be made in the container's network namespace`);
      }
      return holder.pid ?? 0;
    },
    end: async () => {
      holder.stdin.end();
      await ended;
    },
  };
}

export interface AttachOptions {
  containerId: string;
  bundle: string;
  hook: NetworkHook;
  namespace: HeldNamespace;
  settings: ReadonlyMap<string, string>;
  timeoutMs: number;
}

/**
 * Resolves with the path at which Docker keeps the namespace, once interfaces, addresses and routes are in it. From then
 * on it is Docker's, which removes it with the container's network.
 */
export async function attachNetwork({ namespace, settings, ...options }: AttachOptions): Promise<string> {
  const pid = await namespace.settle(settings);
  const said = await setKey(options, pid);
  if (said === undefined) await runHook(options, pid);
  else if (said !== "success") throw failure(said || "it gave no answer");
  return findNamespace(options.hook.namespacesDir, `/proc/${pid}/ns/net`);
}

type Attaching = Omit<AttachOptions, "namespace" | "settings">;

const failure = (why: string): DmigrateError =>
  new DmigrateError("upstream", `Docker could not attach the container's network: ${why}`);

/**
 * Tells Docker what its hook would tell it, which is a second Docker that takes longer to start than for all it does. What
 * Docker says to it; undefined, with nothing told, when it does not listen there.
 */
async function setKey({ hook, containerId, timeoutMs }: Attaching, pid: number): Promise<string | undefined> {
  const socket = connect(hook.socket);
  try {
    await once(socket, "connect");
  } catch {
    return undefined;
  }
  try {
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.write(JSON.stringify({ ContainerID: containerId, Key: `/proc/${pid}/ns/net` }));
    return await text(socket);
  } catch (error) {
    throw failure(messageOf(error));
  } finally {
    socket.destroy();
  }
}

async function runHook({ containerId, bundle, hook, timeoutMs }: Attaching, pid: number): Promise<void> {
  const state = { ociVersion: "1.0.2", id: containerId, status: "creating", pid, bundle };
  const [name = "", ...args] = hook.args;
  const done = await run(hook.path, args, { argv0: name, input: JSON.stringify(state), timeoutMs });
  if (done.exitCode !== 0) throw failure(done.stderr.trim());
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
