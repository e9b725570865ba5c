/** The calls of the node's Docker that a checkpoint needs, each bounded in time, failures in our terms. */
import type Docker from "dockerode";
import {
  aMomentMs,
  dockerError,
  dockerInfo,
  dockerStatus,
  endOf,
  hasContainerdStore,
} from "../../shared/adapters/docker.ts";
import { layerBlobs } from "../../shared/adapters/image-blobs.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { RestartPolicy } from "../../shared/contracts/common.ts";
import { readChosenMacs } from "./chosen-macs.ts";

export type Inspected = Docker.ContainerInspectInfo;

export interface Engine {
  /** Throws `not-found` for an unknown container. */
  inspect(ref: string): Promise<Inspected>;
  /** All containers that run now but this one. */
  othersRunning(containerId: string): Promise<Inspected[]>;
  setRestartPolicy(containerId: string, policy: RestartPolicy): Promise<void>;
  start(containerId: string): Promise<void>;
  /** Whether somebody has ended it through Docker since then (epoch milliseconds). */
  wasStopped(containerId: string, since: number): Promise<boolean>;
  /** Resolves once Docker has seen the container stop; at once when there is no such container (any more). */
  waitStopped(containerId: string, timeoutMs: number): Promise<void>;
  /** Removes a stopped container; its volumes stay. One that is gone already is fine. */
  remove(containerId: string): Promise<void>;
  /** Undefined when Docker has no such image. `layers`: their digests as in an archive of it, where they can be told. */
  image(imageId: string): Promise<{ bytes: number; layers: string[]; repoDigests: string[] } | undefined>;
  networkDriver(networkId: string): Promise<string>;
  /** Hardware addresses that the user chose, by the network's name; none where it cannot be told. */
  chosenMacs(containerId: string): Promise<Map<string, string>>;
  volume(name: string): Promise<Docker.VolumeInspectInfo>;
  /** Commands of those `docker exec` sessions that run now. */
  runningExecs(execIds: readonly string[]): Promise<Docker.ExecInspectInfo["ProcessConfig"][]>;
  /** Whether the daemon maps container users to others (userns-remap). */
  remapsUsers(): Promise<boolean>;
}

const callMs = 15_000;
const startMs = 60_000;
/** Containers looked at together. */
const inspectAtOnce = 16;

export function createEngine(docker: Docker): Engine {
  const of = (id: string): string => `container ${id.slice(0, 12)}`;
  return {
    inspect: (ref) => call(`container ${ref}`, docker.getContainer(ref).inspect()),
    othersRunning: async (id) => {
      const listed = await call("listing containers", docker.listContainers());
      const others = listed.map(({ Id }) => Id).filter((other) => other !== id);
      const seen: Inspected[] = [];
      for (let start = 0; start < others.length; start += inspectAtOnce) {
        const some = others.slice(start, start + inspectAtOnce);
        // One that has gone meanwhile shares nothing any more.
        const found = await Promise.all(some.map((other) => optional(of(other), docker.getContainer(other).inspect())));
        seen.push(...found.filter((other) => other !== undefined).filter(({ State }) => State.Running));
      }
      return seen;
    },
    setRestartPolicy: async (id, RestartPolicy) => {
      await call(`setting the restart policy of ${of(id)}`, docker.getContainer(id).update({ RestartPolicy }));
    },
    start: async (id) => {
      await call(`starting ${of(id)}`, docker.getContainer(id).start(), startMs);
    },
    wasStopped: async (id, since) => (await call(`what happened to ${of(id)}`, endOf(docker, id, since))).stopped,
    waitStopped: async (id, timeoutMs) => {
      const stopped = docker.getContainer(id).wait({ condition: "not-running" });
      await optional(`waiting for ${of(id)} to stop`, stopped, timeoutMs);
    },
    remove: async (id) => {
      try {
        await optional(`removing ${of(id)}`, docker.getContainer(id).remove());
      } catch (error) {
        // One that was run with --rm goes by itself.
        if (!messageOf(error).includes("is already in progress")) throw error;
      }
    },
    async image(id) {
      const found = await optional(`image ${id}`, docker.getImage(id).inspect());
      // The types do not know that it may be null.
      const digests = found?.RepoDigests as string[] | null | undefined;
      if (found === undefined) return undefined;
      const info = await call("docker info", dockerInfo(docker, aMomentMs));
      const layers = hasContainerdStore(info) ? await layerBlobs(info, found.Id) : (found.RootFS.Layers ?? []);
      return { bytes: found.Size, layers, repoDigests: digests ?? [] };
    },
    networkDriver: async (id) => (await call(`network ${id}`, docker.getNetwork(id).inspect())).Driver,
    chosenMacs: async (id) => {
      const { DockerRootDir } = await call("docker info", dockerInfo(docker, aMomentMs));
      return readChosenMacs(DockerRootDir, id);
    },
    volume: (volume) => call(`volume ${volume}`, docker.getVolume(volume).inspect()),
    runningExecs: async (ids) => {
      // A session that has ended is forgotten soon.
      const execs = await Promise.all(
        ids.map((id) => optional(`docker exec session ${id.slice(0, 12)}`, docker.getExec(id).inspect())),
      );
      return execs.flatMap((exec) => (exec?.Running === true ? [exec.ProcessConfig] : []));
    },
    remapsUsers: async () => {
      const { SecurityOptions } = await call("docker info", dockerInfo(docker, aMomentMs));
      return (SecurityOptions ?? []).some((option) => option.startsWith("name=userns"));
    },
  };
}

/** Waits for an answer of Docker, and translates its failure. */
async function call<T>(what: string, answer: Promise<T>, timeoutMs = callMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DmigrateError("timeout", `${what}: Docker did not answer within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([answer, late]);
  } catch (error) {
    throw dockerError(error, what);
  } finally {
    clearTimeout(timer);
  }
}

/** As call, but undefined when Docker does not know the thing. */
async function optional<T>(what: string, answer: Promise<T>, timeoutMs?: number): Promise<T | undefined> {
  try {
    return await call(what, answer, timeoutMs);
  } catch (error) {
    if (error instanceof DmigrateError && dockerStatus(error.cause) === 404) return undefined;
    throw error;
  }
}
