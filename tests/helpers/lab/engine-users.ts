/**
 * Who uses the private engine. Runs that overlap share one engine: each holds a lease, a file named after its process, and the
 * last to leave stops the engine. A lease whose process died counts for nothing, so a killed run blocks nobody.
 *
 * Starting and stopping are serialised by a listening socket in the abstract namespace: the kernel frees it when its holder
 * dies, however it dies, so there is no stale lock to clear away.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { isAlive, ownIdentity } from "./processes.ts";

const lockAddress = "\0dmigrate-lab-engine";
let leasesTaken = 0;

/** Runs `work` while no other process of this machine runs work under the same lock. */
export async function exclusively<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const lock = await takeLock(signal);
  try {
    return await work();
  } finally {
    await new Promise((resolve) => lock.close(resolve));
  }
}

async function takeLock(signal: AbortSignal | undefined): Promise<Server> {
  for (;;) {
    signal?.throwIfAborted();
    const lock = await tryLock();
    if (lock) return lock;
    await sleep(100, undefined, signal && { signal });
  }
}

function tryLock(): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(lockAddress, () => resolve(server));
  });
}

/** Writes down that this process uses the engine; returns what ends that. Call it under the lock. */
export function takeLease(directory: string): () => void {
  mkdirSync(directory, { recursive: true });
  const { pid, startTime } = ownIdentity();
  const path = join(directory, `${String(pid)}-${String(leasesTaken++)}`);
  writeFileSync(path, startTime);
  return () => rmSync(path, { force: true });
}

/** How many living processes use the engine; forgets the dead. Call it under the lock. */
export function countUsers(directory: string): number {
  mkdirSync(directory, { recursive: true });
  let alive = 0;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (isAlive({ pid: Number.parseInt(name, 10), startTime: readFileSync(path, "utf8") })) alive++;
    else rmSync(path, { force: true });
  }
  return alive;
}
