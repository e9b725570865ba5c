/** What the restorer asks of Docker, with Docker's errors in our terms. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import type Docker from "dockerode";
import type { RestartPolicy } from "../../shared/contracts/common.ts";
import type { Volume } from "../../shared/contracts/container.ts";
import type { ContainerEnd } from "../../shared/core/container-events.ts";
import { jsonLogLimits, jsonLogPath, type LogLimits } from "../../shared/adapters/container-log.ts";
import { shownLayer, type LayerPaths } from "../../shared/adapters/overlay-layer.ts";
import { runtimeName } from "../../shared/adapters/resources.ts";
import {
  aMomentMs,
  dockerError,
  dockerInfo,
  dockerStatus,
  endOf,
  hasContainerdStore,
  layersDir,
} from "../../shared/adapters/docker.ts";
import { presentBlobs } from "../../shared/adapters/image-blobs.ts";
import { DmigrateError } from "../../shared/errors.ts";
import type { PresentContainer, PresentVolume } from "../core/refuse.ts";
import type { KernelLimit, LimitFacts } from "../core/refuse-limits.ts";

export interface SeenContainer {
  running: boolean;
  pid: number;
  name: string;
  /** Docker has seen it run, now or before. */
  hasStarted: boolean;
  /** Of one that has ended. */
  exitCode: number;
  oomKilled: boolean;
}

export interface EngineInfo extends Pick<LimitFacts, "cpus" | "cgroupDriver" | "cgroupVersion" | "lackingLimits"> {
  version: string;
  runtimes: string[];
  runtimePath?: string;
  seccomp: boolean;
}

export interface Engine {
  /** As it was a moment ago, if it was asked then. */
  info(): Promise<EngineInfo>;
  /** Docker's own directory, and where it keeps layers. */
  directories(): Promise<{ root: string; layers: string }>;
  /** Whether this Docker, as those before 28 do, attaches a container's network in a hook. */
  attachesByHook(): Promise<boolean>;
  /** Id that a reference or id resolves to; undefined when there is no such image. */
  imageId(ref: string): Promise<string | undefined>;
  /** Of each image the digests of its layers (diff ids), the lowest first. */
  imageLayers(): Promise<string[][]>;
  /** Those of the layers that containerd has, none where it does not say; undefined where Docker keeps images itself. */
  layersInContainerd(digests: readonly string[]): Promise<string[] | undefined>;
  /** Pulls an image; throws `upstream` with what Docker or the registry say against it. */
  pullImage(ref: string, signal: AbortSignal): Promise<void>;
  /** Takes a name off an image, and removes the image with its last one. Nothing when there is none. */
  removeImage(ref: string): Promise<void>;
  tagImage(id: string, ref: string): Promise<void>;
  containers(): Promise<PresentContainer[]>;
  /** Undefined when there is no such container. Blocks while Docker starts the container. */
  container(id: string): Promise<SeenContainer | undefined>;
  /** How it has ended since then (epoch milliseconds), also when it is removed by now. */
  endOf(id: string, since: number): Promise<ContainerEnd>;
  createContainer(name: string, body: object): Promise<string>;
  /** Id of a container of this name that was created for our runtime and never started. */
  createdContainer(name: string): Promise<string | undefined>;
  /**
   * Where the files of a created container lie, undefined where Docker does not tell; and where Docker will write its log, and
   * the limits of that, undefined unless by json-file.
   */
  places(id: string): Promise<{ layer: LayerPaths | undefined; log: { path: string; limits: LogLimits } | undefined }>;
  /** Resolves when Docker has started it: for a container of ours, once it is restored. */
  startContainer(id: string): Promise<void>;
  /** Freezes it, as `docker pause` does; nothing when it does not run. */
  pauseContainer(id: string): Promise<void>;
  /** Kills and removes; its volumes stay. False when there was none. */
  removeContainer(id: string): Promise<boolean>;
  renameContainer(id: string, name: string): Promise<void>;
  setRestartPolicy(id: string, policy: RestartPolicy): Promise<void>;
  networks(): Promise<Map<string, string>>;
  volume(name: string): Promise<PresentVolume | undefined>;
  createVolume(volume: Volume): Promise<void>;
  /** False when there was none. */
  removeVolume(name: string): Promise<boolean>;
}

export function createEngine(docker: Docker): Engine {
  const ask = async <T>(what: string, call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      throw dockerError(error, what);
    }
  };
  /** Undefined instead of an error when Docker says that there is no such thing. */
  const find = async <T>(what: string, call: Promise<T>): Promise<T | undefined> => {
    try {
      return await call;
    } catch (error) {
      if (dockerStatus(error) === 404) return undefined;
      throw dockerError(error, what);
    }
  };
  const exists = async (what: string, call: Promise<unknown>): Promise<boolean> =>
    (await find(
      what,
      call.then(() => true),
    )) ?? false;
  return {
    async info() {
      const info = await ask("Docker", dockerInfo(docker, aMomentMs));
      const path = info.Runtimes?.["dmigrate"]?.path;
      return {
        version: info.ServerVersion,
        runtimes: Object.keys(info.Runtimes ?? {}),
        ...(path !== undefined && { runtimePath: path }),
        seccomp: info.SecurityOptions?.some((option) => option.includes("name=seccomp")) ?? false,
        cpus: info.NCPU,
        cgroupDriver: info.CgroupDriver,
        cgroupVersion: info.CgroupVersion,
        lackingLimits: kernelLimits.filter((limit) => info[limit] === false),
      };
    },
    async directories() {
      const info = await ask("Docker", dockerInfo(docker, aMomentMs));
      const layers = layersDir(info);
      // A containerd of Docker's own has its place in Docker's directory.
      return { root: info.DockerRootDir, layers: existsSync(layers) ? layers : info.DockerRootDir };
    },
    async attachesByHook() {
      const { ServerVersion } = await ask("Docker", dockerInfo(docker, aMomentMs));
      return Number.parseInt(ServerVersion) < 28;
    },
    async imageId(ref) {
      return (await find(`image ${ref}`, docker.getImage(ref).inspect()))?.Id;
    },
    async imageLayers() {
      const layers: string[][] = [];
      for (const { Id } of await ask("the list of images", docker.listImages()))
        layers.push((await find(`image ${Id}`, docker.getImage(Id).inspect()))?.RootFS.Layers ?? []);
      return layers;
    },
    async layersInContainerd(digests) {
      const info = await ask("Docker", dockerInfo(docker, aMomentMs));
      return hasContainerdStore(info) ? ((await presentBlobs(info, digests)) ?? []) : undefined;
    },
    async pullImage(ref, signal) {
      const answer = await ask(`pulling ${ref}`, docker.pull(ref, { abortSignal: signal }));
      // One JSON value a line, mostly of progress; an error is the last.
      let last = "";
      try {
        for await (const chunk of answer as AsyncIterable<Buffer>) last = (last + chunk.toString()).slice(-maxPullLine);
      } catch (error) {
        throw dockerError(error, `pulling ${ref}`);
      }
      const failure = /"error":\s*"((?:[^"\\]|\\.)*)"/.exec(last)?.[1];
      if (failure !== undefined) throw new DmigrateError("upstream", `pulling ${ref}: ${failure}`);
    },
    async removeImage(ref) {
      await find(`image ${ref}`, docker.getImage(ref).remove());
    },
    async tagImage(id, ref) {
      const [, repo = ref, tag = "latest"] = /^(.+?)(?::([^/:]+))?$/.exec(ref) ?? [];
      await ask(`tagging image ${id} as ${ref}`, docker.getImage(id).tag({ repo, tag }));
    },
    async containers() {
      const list = await ask("the list of containers", docker.listContainers({ all: true }));
      return list.map(({ Id, Names, State, Ports, Mounts, NetworkSettings }) => ({
        id: Id,
        name: (Names.find((name) => name.lastIndexOf("/") === 0) ?? "").slice(1),
        running: State !== "exited" && State !== "created" && State !== "dead",
        ports: Ports.flatMap(({ IP, PublicPort, Type }) =>
          // Docker leaves PublicPort out for a port that is exposed only; its types do not know.
          (PublicPort as number | undefined) === undefined ? [] : [{ ip: IP, port: PublicPort, protocol: Type }],
        ),
        networks: Object.keys((NetworkSettings.Networks as object | null) ?? {}),
        binds: Mounts.flatMap(({ Type, Source, RW }) => (Type === "bind" ? [{ path: Source, writable: RW }] : [])),
        volumes: Mounts.flatMap(({ Type, Name }) => (Type === "volume" && Name !== undefined ? [Name] : [])),
      }));
    },
    async pauseContainer(id) {
      try {
        await find(`container ${id}`, docker.getContainer(id).pause());
      } catch (error) {
        // Paused already, or ended.
        if (!(error instanceof DmigrateError) || error.code !== "conflict") throw error;
      }
    },
    async container(id) {
      const found = await find(`container ${id}`, docker.getContainer(id).inspect());
      if (found === undefined) return undefined;
      const { Running: running, Pid: pid, ExitCode: exitCode, OOMKilled: oomKilled } = found.State;
      // One that ended at once Docker has seen the end of, and not the start.
      const hasStarted = running || [found.State.StartedAt, found.State.FinishedAt].some((at) => !at.startsWith(never));
      return { running, pid, name: found.Name.replace(/^\//, ""), hasStarted, exitCode, oomKilled };
    },
    endOf: (id, since) => ask(`what happened to container ${id}`, endOf(docker, id, since)),
    async createContainer(name, body) {
      // dockerode's types describe options of older engines; the body is what the source's Docker printed.
      const options = { _query: { name }, _body: body } as unknown as Docker.ContainerCreateOptions;
      return (await ask(`creating container ${name}`, docker.createContainer(options))).id;
    },
    async createdContainer(name) {
      const found = await find(`container ${name}`, docker.getContainer(name).inspect());
      if (found?.State.Status !== "created" || found.HostConfig.Runtime !== runtimeName) return undefined;
      return found.Id;
    },
    async places(id) {
      const [found, { DockerRootDir }] = await Promise.all([
        ask(`container ${id.slice(0, 12)}`, docker.getContainer(id).inspect()),
        ask("Docker", dockerInfo(docker, aMomentMs)),
      ]);
      const limits = jsonLogLimits(found.HostConfig.LogConfig ?? {});
      const log = limits && { path: jsonLogPath(DockerRootDir, id), limits };
      return { layer: shownLayer(found), log };
    },
    async startContainer(id) {
      await ask(`starting container ${id}`, docker.getContainer(id).start());
    },
    removeContainer: (id) =>
      exists(`removing container ${id}`, docker.getContainer(id).remove({ force: true, v: false })),
    async renameContainer(id, name) {
      await ask(`renaming container ${id} to ${name}`, docker.getContainer(id).rename({ name }));
    },
    async setRestartPolicy(id, policy) {
      await ask(
        `setting the restart policy of container ${id}`,
        docker.getContainer(id).update({ RestartPolicy: policy }),
      );
    },
    async networks() {
      const list = await ask("the list of networks", docker.listNetworks());
      return new Map(list.map(({ Name, Driver }) => [Name, Driver]));
    },
    async volume(name) {
      const found = await find(`volume ${name}`, docker.getVolume(name).inspect());
      if (found === undefined) return undefined;
      // A mountpoint that cannot be read may hold anything.
      const files = await readdir(found.Mountpoint).catch(() => undefined);
      const { Mountpoint: path, Driver: driver, Options: options } = found;
      return { name, path, empty: files?.length === 0, driver, options: options ?? {} };
    },
    async createVolume({ name, driver, labels, options }) {
      const body = { Name: name, Driver: driver, Labels: labels, DriverOpts: options };
      await ask(`creating volume ${name}`, docker.createVolume(body));
    },
    removeVolume: (name) => exists(`removing volume ${name}`, docker.getVolume(name).remove()),
  };
}

const kernelLimits: readonly KernelLimit[] = [
  "MemoryLimit",
  "CpuCfsQuota",
  "CPUShares",
  "CPUSet",
  "PidsLimit",
  "OomKillDisable",
];

/** When Docker says that something happened which did not: the zero of its clock. */
const never = "0001-";
const maxPullLine = 8_192;

/** Waits for `work`, at most `ms`; then throws `timeout` with `message`. The work itself goes on. */
export async function within<T>(ms: number, work: Promise<T>, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new DmigrateError("timeout", `${message} within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
