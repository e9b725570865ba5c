/**
 * Which lab run a container belongs to. Every container of the lab carries a label with the run that started it: its host, boot,
 * pid and start time. So the containers of a run that was killed can be told from those of one that is under way, and removed.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

import type Docker from "dockerode";

import { isAlive, ownIdentity } from "./processes.ts";

const ownerLabel = "dmigrate.lab.owner";
const runLabel = "dmigrate.lab.run";

/** Labels for the containers of one run of this process. */
export function labelsFor(runId: string): Record<string, string> {
  const { pid, startTime } = ownIdentity();
  return { [ownerLabel]: JSON.stringify([hostname(), bootId(), pid, startTime]), [runLabel]: runId };
}

/** Removes the containers of one run, with their volumes. */
export async function removeRun(docker: Docker, runId: string): Promise<void> {
  await removeAll(docker, await docker.listContainers({ all: true, filters: { label: [`${runLabel}=${runId}`] } }));
}

/** Removes the containers of runs of this machine that are over; returns how many there were. */
export async function removeStale(docker: Docker): Promise<number> {
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
      try {
        await docker.getContainer(Id).remove({ force: true, v: true });
      } catch (error) {
        // 404, 409: gone, or being removed by somebody else.
        const { statusCode } = error as { statusCode?: number };
        if (statusCode !== 404 && statusCode !== 409) throw error;
      }
    }),
  );
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
