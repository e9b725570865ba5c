/** Reads everything about a container that a migration must know beforehand. Touches nothing. */
import { lstatSync, realpathSync } from "node:fs";
import { findFreezer } from "../shared/adapters/cgroup.ts";
import { findLayer } from "../shared/adapters/overlay-layer.ts";
import {
  establishedConnections,
  namelessFiles,
  openFiles,
  readProcess,
  type NamelessFile,
  type ProcessStatus,
} from "../shared/adapters/processes.ts";
import { repoDigestSchema } from "../shared/contracts/common.ts";
import type { ContainerProfile, NetworkAttachment, Volume } from "../shared/contracts/container.ts";
import { bindTarget, cleanTarget } from "../shared/core/mount-target.ts";
import { DmigrateError } from "../shared/errors.ts";
import { countInodes, filesBytes, memoryBytes, sum } from "./adapters/container-size.ts";
import { watchesUnknownFiles } from "./adapters/watched-files.ts";
import { measureLog } from "./adapters/log-size.ts";
import type { Engine, Inspected } from "./adapters/engine.ts";
import { toAttachment, toSpec, toVolume, type InspectedEndpoint } from "./core/container-spec.ts";
import { isHealthProbe } from "./core/health-probe.ts";
import { findRefusals, type ContainerFacts, type OtherContainer } from "./core/refusals.ts";

/** Networks that every node has; a container is attached to them by its network mode, unless it has settings there. */
const builtInNetworks = new Set(["bridge", "host", "none"]);
const swarmLabel = "com.docker.swarm.service.id";

/**
 * `moveBinds`: sources of its bind mounts that are to move, which count as volumes. Throws `not-found` for an unknown
 * container. What rules a migration out is in `refusals`, not an error.
 */
export async function profileContainer(
  engine: Engine,
  ref: string,
  moveBinds: readonly string[],
): Promise<ContainerProfile> {
  const container = await engine.inspect(ref);
  const processes = container.State.Running ? readProcesses(container.State.Pid) : [];
  const initPid = processes.length > 0 ? container.State.Pid : undefined;
  const layer = await findLayer(container);
  const volumeMounts = container.Mounts.filter(({ Type }) => Type === "volume");
  const bindMounts = container.Mounts.filter(({ Type }) => Type === "bind").map(({ Source, Destination }) => ({
    source: Source,
    target: Destination,
    directory: isDirectory(Source),
  }));
  const moved = bindMounts.filter(({ source, directory }) => directory && moveBinds.includes(source));
  const localMounts = volumeMounts.filter(({ Driver }) => (Driver ?? "local") === "local");
  // Each once, at however many places it is mounted.
  const volumeDirs = new Map(localMounts.map(({ Name = "", Source }) => [Name, Source]));
  const bindDirs = [...new Set(moved.map(({ source }) => source))];
  const inDocker = [...(layer === undefined ? [] : [layer.upper]), ...volumeDirs.values()];
  const [image, volumes, networks, execs, usersRemapped, others, sizes, inodes, log] = await Promise.all([
    engine.image(container.Image),
    Promise.all(volumeMounts.map(async (mount) => toVolume(mount, await engine.volume(mount.Name ?? "")))),
    readNetworks(engine, container),
    readExecs(engine, container),
    engine.remapsUsers(),
    engine.othersRunning(container.Id),
    filesBytes([...inDocker, ...bindDirs]),
    countInodes(inDocker),
    measureLog(container, Date.now()),
  ]);
  const memory = initPid === undefined ? 0 : memoryBytes(initPid, processes);
  const open = processes.flatMap(({ hostPid }) => openFiles(hostPid));
  const nameless = namelessFiles(open);
  const facts = factsOf(container, {
    usersRemapped,
    showsLayer: layer !== undefined || !container.State.Running,
    imagePresent: image !== undefined,
    movedBinds: moved.map(({ source }) => source),
    volumes,
    execs,
    others: others.map(toOther),
    openFiles: open.map(({ link }) => link),
    watchesUnknownFiles: initPid !== undefined && watchesUnknownFiles(initPid, open),
    namelessFiles: nameless,
  });
  return {
    id: container.Id,
    running: container.State.Running,
    spec: toSpec(container, volumes, networks),
    bindMounts,
    writableLayerBytes: sum(sizes.slice(0, inDocker.length - volumeDirs.size)),
    volumeBytes: sum(sizes.slice(inDocker.length - volumeDirs.size)),
    bytesByVolume: named([...volumeDirs.keys()], sizes.slice(inDocker.length - volumeDirs.size)),
    bytesByBind: named(bindDirs, sizes.slice(inDocker.length)),
    inodes,
    imageBytes: image?.bytes ?? 0,
    imageLayers: image?.layers ?? [],
    repoDigests: (image?.repoDigests ?? []).filter((ref) => repoDigestSchema.safeParse(ref).success).slice(0, 64),
    ...(log !== undefined && { log }),
    memoryBytes: memory,
    processes: processes.length,
    namelessBytes: nameless.reduce((sum, { bytes }) => sum + bytes, 0),
    tcpConnections: initPid === undefined ? 0 : establishedConnections(initPid),
    refusals: findRefusals(facts),
  };
}

/** The sizes by these names, in the order of both. */
const named = (names: readonly string[], sizes: readonly number[]): Record<string, number> =>
  Object.fromEntries(names.map((name, at) => [name, sizes[at] ?? 0]));

/** Whether it is one by this very path, not by a link. */
function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory() && realpathSync(path) === path;
  } catch {
    return false;
  }
}

/** Empty when the container stops while we look. */
function readProcesses(initPid: number): ProcessStatus[] {
  try {
    return findFreezer(initPid)
      .processes()
      .map(readProcess)
      .filter((status) => status !== undefined);
  } catch (error) {
    if (error instanceof DmigrateError && error.code === "not-found") return [];
    throw error;
  }
}

async function readNetworks(engine: Engine, { Id, NetworkSettings }: Inspected): Promise<NetworkAttachment[]> {
  const all = Object.entries<InspectedEndpoint & { NetworkID: string }>(NetworkSettings.Networks);
  const chosenMacs = await engine.chosenMacs(Id);
  const isNamed = ([name, { DriverOpts }]: (typeof all)[number]): boolean =>
    !builtInNetworks.has(name) || chosenMacs.has(name) || Object.keys(DriverOpts ?? {}).length > 0;
  // Once a network is named, Docker attaches what is named and nothing else.
  if (!all.some(isNamed)) return [];
  return Promise.all(
    all.map(async ([name, endpoint]) => {
      const driver = await engine.networkDriver(endpoint.NetworkID || name);
      return toAttachment(Id, { name, driver, chosenMac: chosenMacs.get(name) }, endpoint);
    }),
  );
}

async function readExecs(engine: Engine, { ExecIDs, Config }: Inspected): Promise<string[]> {
  const running = await engine.runningExecs(ExecIDs ?? []);
  return running
    .filter((exec) => !isHealthProbe(exec, Config.Healthcheck?.Test))
    .map((exec) => [exec.entrypoint, ...exec.arguments].join(" "));
}

interface Seen {
  watchesUnknownFiles: boolean;
  namelessFiles: readonly NamelessFile[];
  usersRemapped: boolean;
  showsLayer: boolean;
  imagePresent: boolean;
  movedBinds: readonly string[];
  volumes: readonly Volume[];
  execs: readonly string[];
  others: readonly OtherContainer[];
  openFiles: readonly string[];
}

function factsOf(container: Inspected, seen: Seen): ContainerFacts {
  const { Name, State, Config, HostConfig, Mounts } = container;
  const options = new Map(seen.volumes.map((volume) => [volume.name, volume.options]));
  const storageDriver = container.Driver || (container.GraphDriver as { Name?: string } | undefined)?.Name;
  return {
    id: container.Id,
    name: Name.replace(/^\//, ""),
    state: { running: State.Running, paused: State.Paused, restarting: State.Restarting },
    tty: Config.Tty,
    privileged: HostConfig.Privileged ?? false,
    runtime: HostConfig.Runtime ?? "",
    networkMode: HostConfig.NetworkMode ?? "",
    pidMode: HostConfig.PidMode ?? "",
    ipcMode: HostConfig.IpcMode ?? "",
    utsMode: HostConfig.UTSMode ?? "",
    devices: devicePaths(HostConfig.Devices),
    deviceRequests: (HostConfig.DeviceRequests ?? []).map(
      ({ Driver, Capabilities }) => Driver || (Capabilities ?? []).flat().join(" ") || "any",
    ),
    swarmManaged: swarmLabel in ((Config.Labels as Record<string, string> | null) ?? {}),
    usersRemapped: seen.usersRemapped,
    storageDriver: storageDriver ?? "an unknown driver",
    showsLayer: seen.showsLayer,
    imagePresent: seen.imagePresent,
    mounts: Mounts.map(({ Type, Name: volume = "", Destination, Driver = "local" }) => ({
      type: Type,
      name: volume,
      target: Destination,
      driver: Driver,
      options: options.get(volume) ?? {},
    })),
    subpathMounts: subpathMounts(HostConfig.Mounts),
    movedBinds: seen.movedBinds,
    inheritedBinds: inheritedBinds(container),
    links: (HostConfig.Links as string[] | null | undefined) ?? [],
    execs: seen.execs,
    others: seen.others,
    openFiles: seen.openFiles,
    watchesUnknownFiles: seen.watchesUnknownFiles,
    namelessFiles: seen.namelessFiles,
  };
}

function toOther({ Name, HostConfig, Mounts }: Inspected): OtherContainer {
  return {
    name: Name.replace(/^\//, ""),
    networkMode: HostConfig.NetworkMode ?? "",
    pidMode: HostConfig.PidMode ?? "",
    ipcMode: HostConfig.IpcMode ?? "",
    writableBinds: Mounts.flatMap(({ Type, Source, RW }) => (Type === "bind" && RW ? [Source] : [])),
    writableVolumes: Mounts.flatMap(({ Type, Name: volume = "", RW }) => (Type === "volume" && RW ? [volume] : [])),
  };
}

/** Bind mounts that its own configuration does not have. */
function inheritedBinds({ Mounts, HostConfig }: Inspected): string[] {
  const binds = (HostConfig.Binds as string[] | null | undefined) ?? [];
  const mounts = HostConfig.Mounts ?? [];
  const own = new Set([...binds.map(bindTarget), ...mounts.map(({ Target }) => cleanTarget(Target))]);
  return Mounts.flatMap(({ Type, Destination }) => (Type === "bind" && !own.has(Destination) ? [Destination] : []));
}

function subpathMounts(mounts: unknown): string[] {
  if (!Array.isArray(mounts)) return [];
  const known = mounts as { Target: string; VolumeOptions?: { Subpath?: string } | null }[];
  return known.flatMap(({ Target, VolumeOptions }) => (VolumeOptions?.Subpath ? [Target] : []));
}

function devicePaths(devices: unknown): string[] {
  if (!Array.isArray(devices)) return [];
  return (devices as { PathOnHost?: string }[]).map(({ PathOnHost }) => PathOnHost ?? "unknown");
}
