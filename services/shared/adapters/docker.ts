/** The node's Docker Engine, and its errors in our terms. */
import { join } from "node:path";
import { text } from "node:stream/consumers";
import Docker from "dockerode";
import { readEnd, type ContainerEnd } from "../core/container-events.ts";
import { DmigrateError, messageOf } from "../errors.ts";

/** A client of the engine behind this socket. It connects with each call, so the engine may start later. */
export function openDocker(socketPath: string): Docker {
  return new Docker({ socketPath });
}

/** What Docker says of itself, as far as we read it. */
export interface DockerInfo {
  ServerVersion: string;
  Driver: string;
  /** Pairs of name and value. */
  DriverStatus?: string[][] | null;
  DockerRootDir: string;
  CgroupVersion?: string;
  CgroupDriver?: string;
  NCPU?: number;
  /** False where the kernel lacks the limit. */
  MemoryLimit?: boolean;
  CpuCfsQuota?: boolean;
  CPUShares?: boolean;
  CPUSet?: boolean;
  PidsLimit?: boolean;
  OomKillDisable?: boolean;
  Runtimes?: Record<string, { path?: string }>;
  SecurityOptions?: string[] | null;
  /** From Docker 28 on. */
  Containerd?: { Address?: string; Namespaces?: { Containers?: string } };
}

/** Whether containerd keeps Docker's images, rather than Docker itself. */
export const hasContainerdStore = ({ DriverStatus }: DockerInfo): boolean =>
  DriverStatus?.some(([name, value]) => name === "driver-type" && value === "io.containerd.snapshotter.v1") ?? false;

/** Where containerd keeps images and layers unless its configuration says otherwise. */
export const containerdRootDir = "/var/lib/containerd";

/** Where images and writable layers are kept. */
export const layersDir = (info: DockerInfo): string =>
  hasContainerdStore(info) ? containerdRootDir : join(info.DockerRootDir, info.Driver);

/**
 * How old an answer may be where it was asked for just before: to give it takes Docker some 10 ms. A plan begins with the
 * nodes' resources, for which it is asked anew.
 */
export const aMomentMs = 500;
const infos = new WeakMap<Docker, { answer: Promise<DockerInfo>; answeredAt: number }>();

/** `docker info`: asked at once, or already, or answered at most `mayBeOldMs` ago. Rejects as dockerode does. */
export function dockerInfo(docker: Docker, mayBeOldMs = 0): Promise<DockerInfo> {
  const last = infos.get(docker);
  if (last !== undefined && performance.now() - last.answeredAt <= mayBeOldMs) return last.answer;
  const asked = { answer: docker.info() as Promise<DockerInfo>, answeredAt: Infinity };
  infos.set(docker, asked);
  asked.answer.then(
    () => (asked.answeredAt = performance.now()),
    () => infos.delete(docker),
  );
  return asked.answer;
}

/** The HTTP status Docker answered with, or undefined when it did not answer. */
export function dockerStatus(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("statusCode" in error)) return undefined;
  return typeof error.statusCode === "number" ? error.statusCode : undefined;
}

/** Translates a failure of a Docker call. `what` names the thing: "container redis". */
export function dockerError(error: unknown, what: string): DmigrateError {
  if (error instanceof DmigrateError) return error;
  const status = dockerStatus(error);
  const text = `${what}: ${messageOf(error)}`;
  if (status === 404) return new DmigrateError("not-found", text, { cause: error });
  if (status === 409) return new DmigrateError("conflict", text, { cause: error });
  if (status === 400) return new DmigrateError("invalid-request", text, { cause: error });
  if (status === undefined)
    return new DmigrateError("unavailable", `${text}; is Docker running on this node?`, { cause: error });
  return new DmigrateError("upstream", text, { cause: error });
}

/** How a container has ended since then (epoch milliseconds), as far as Docker remembers. Rejects as dockerode does. */
export async function endOf(docker: Docker, containerId: string, since: number): Promise<ContainerEnd> {
  const filters = { type: ["container"], container: [containerId], event: ["stop", "kill", "die"] };
  // With an end that is past, Docker tells what it remembers and closes.
  const options = { since: since / 1000, until: Date.now() / 1000, filters: JSON.stringify(filters) };
  const events: NodeJS.ReadableStream = await docker.getEvents(options);
  return readEnd(await text(events));
}
