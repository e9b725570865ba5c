/**
 * Which lab run a container or a temporary directory belongs to. Each carries the process that made it, by host, boot, pid and start
 * time. So what a killed run left can be told from what one that is under way needs, and removed.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";

import type Docker from "dockerode";

import { endFrozen } from "./frozen.ts";
import { isAlive, ownIdentity } from "./processes.ts";

const ownerLabel = "dmigrate.lab.owner";
const runLabel = "dmigrate.lab.run";
const directoryPrefix = "dmigrate-lab-";
const directoryPattern = /^dmigrate-lab-(\d+)-(\d+)-/;

/** Labels for the containers of one run of this process. */
export function labelsFor(runId: string): Record<string, string> {
  const { pid, startTime } = ownIdentity();
  return { [ownerLabel]: JSON.stringify([hostname(), bootId(), pid, startTime]), [runLabel]: runId };
}

/** Removes the containers of one run, with their volumes. */
export async function removeRun(docker: Docker, runId: string): Promise<void> {
  await removeAll(docker, await docker.listContainers({ all: true, filters: { label: [`${runLabel}=${runId}`] } }));
}

/** Makes a temporary directory of this process. */
export function makeDirectory(): string {
  const { pid, startTime } = ownIdentity();
  return mkdtempSync(join(tmpdir(), `${directoryPrefix}${String(pid)}-${startTime}-`));
}

/** Removes the containers and directories of runs of this machine that are over; returns how many containers there were. */
export async function removeStale(docker: Docker): Promise<number> {
  for (const name of readdirSync(tmpdir())) {
    const [, pid, startTime] = directoryPattern.exec(name) ?? [];
    if (pid === undefined || startTime === undefined || isAlive({ pid: Number(pid), startTime })) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
  const ours = await docker.listContainers({ all: true, filters: { label: [ownerLabel] } });
  const stale = ours.filter(({ Labels }) => isStale(Labels[ownerLabel] ?? ""));
  await removeAll(docker, stale);
  return stale.length;
}

function isStale(owner: string): boolean {
  const [host, boot, pid, startTime] = JSON.parse(owner) as [string, string, number, string];
  // Another machine may share the engine over the network: what its processes do can't be seen from here.
  if (host !== hostname()) return false;
  return boot !== bootId() || !isAlive({ pid, startTime });
}

async function removeAll(docker: Docker, containers: readonly Docker.ContainerInfo[]): Promise<void> {
  await Promise.all(
    containers.map(async ({ Id }) => {
      if (!(await remove(docker, Id))) {
        endFrozen(Id);
        if (!(await remove(docker, Id))) throw new Error(`container ${Id.slice(0, 12)} cannot be removed`);
      }
    }),
  );
}

/** False when it cannot be killed. */
async function remove(docker: Docker, id: string): Promise<boolean> {
  try {
    await docker.getContainer(id).remove({ force: true, v: true });
    return true;
  } catch (error) {
    const { statusCode } = error as { statusCode?: number };
    // 404, 409: gone, or being removed by somebody else.
    if (statusCode === 404 || statusCode === 409) return true;
    if (statusCode === 500) return false;
    throw error;
  }
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
