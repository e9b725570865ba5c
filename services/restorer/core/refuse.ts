/** Why a container cannot be created on this node, decided from what was read of it. Pure. */
import type { ContainerSpec } from "../../shared/contracts/container.ts";
import { pathsOverlap } from "../../shared/core/bind-path.ts";
import type { Refusal } from "../../shared/errors.ts";
import { refuseLimits, type LimitFacts } from "./refuse-limits.ts";
import { refuseNetworks, type NetworkFacts } from "./refuse-networks.ts";
import { refuseForVersion } from "./refuse-version.ts";

export interface PresentContainer {
  id: string;
  name: string;
  running: boolean;
  ports: readonly PortUse[];
  volumes: readonly string[];
  /** Those that it is attached to, by name. */
  networks: readonly string[];
  /** Its bind mounts, by their directories on the host. */
  binds: readonly { path: string; writable: boolean }[];
}

/** The directory that a bind mount is to be moved to. */
export interface BindDirectory {
  path: string;
  is: "absent" | "empty" | "filled" | "no-directory";
}

/** A port of the host in use; `ip` is empty for all addresses. */
export interface PortUse {
  ip: string;
  port: number;
  protocol: string;
}

export interface PresentVolume {
  name: string;
  /** Its mount point. */
  path: string;
  /** Whether nothing lies at its mount point, which says something of a plain local volume only. */
  empty: boolean;
  driver: string;
  options: Readonly<Record<string, string>>;
}

/** What the node has, as far as it matters to this container. */
export interface NodeFacts extends NetworkFacts, LimitFacts {
  /** Major version of Docker; NaN for one that has no number. */
  dockerMajor: number;
  runtimes: readonly string[];
  containers: readonly PresentContainer[];
  volumes: readonly PresentVolume[];
  /** Of each bind mount that comes along. */
  binds: readonly BindDirectory[];
  /** Of the bind mounts that are on storage which both nodes are said to see: those that are not here. */
  absentShares: readonly string[];
  /** Sockets listening on the host, whoever owns them. */
  listening: readonly PortUse[];
  /** Names of loaded AppArmor profiles; undefined when the node has no AppArmor. */
  appArmorProfiles: readonly string[] | undefined;
  seccomp: boolean;
}

/** Every reason at once; empty when nothing stands in the way. */
export function refuse(
  spec: ContainerSpec,
  replaces: string | undefined,
  facts: NodeFacts,
  runtime: string,
): Refusal[] {
  return [
    ...refuseRuntime(facts, runtime),
    ...refuseTerminal(spec),
    ...refuseName(spec, replaces, facts),
    ...refusePorts(spec, facts),
    ...refuseNetworks(spec, facts),
    ...refuseForVersion(spec, facts.dockerMajor),
    ...refuseLimits(spec, facts),
    ...refuseVolumes(spec, replaces, facts),
    ...refuseBinds(replaces, facts),
    ...refuseShares(facts),
    ...refuseSecurity(spec, facts),
  ];
}

function refuseRuntime({ runtimes }: NodeFacts, runtime: string): Refusal[] {
  if (runtimes.includes(runtime)) return [];
  const fix = `add "runtimes": {"${runtime}": {"path": "/usr/local/bin/dmigrate-runc"}} to /etc/docker/daemon.json and reload dockerd`;
  return [{ code: "no-runtime", message: `Docker on the destination does not know the runtime ${runtime}: ${fix}` }];
}

function refuseTerminal({ config }: ContainerSpec): Refusal[] {
  if (config["Tty"] !== true) return [];
  return [
    { code: "terminal", message: "a container with a terminal (docker run -t) cannot be restored: run it without -t" },
  ];
}

function refuseName({ name }: ContainerSpec, replaces: string | undefined, { containers }: NodeFacts): Refusal[] {
  const holder = containers.find((container) => container.name === name);
  const replaced = containers.find(({ id }) => id === replaces);
  const refusals: Refusal[] = [];
  if (holder !== undefined && holder.id !== replaces) {
    const message = `the destination has another container named ${name} (${holder.id.slice(0, 12)}): rename or remove it`;
    refusals.push({ code: "name-taken", message });
  }
  if (replaced?.running === true) {
    const message = `container ${replaced.name} of an earlier migration runs on the destination: stop it first`;
    refusals.push({ code: "replaced-runs", message });
  }
  return refusals;
}

function refusePorts({ hostConfig }: ContainerSpec, { containers, listening }: NodeFacts): Refusal[] {
  const refusals: Refusal[] = [];
  for (const wanted of publishedPorts(hostConfig["PortBindings"])) {
    const owner = containers.find(({ running, ports }) => running && ports.some((used) => overlap(wanted, used)));
    if (owner === undefined && !listening.some((used) => overlap(wanted, used))) continue;
    const by = owner === undefined ? "a process" : `container ${owner.name}`;
    const message = `port ${wanted.port}/${wanted.protocol} of the destination is in use by ${by}: free it`;
    refusals.push({ code: "port-taken", message });
  }
  return refusals;
}

/** Host ports that a container asks for by number; a range is Docker's to choose from. */
export function publishedPorts(bindings: unknown): PortUse[] {
  if (typeof bindings !== "object" || bindings === null) return [];
  return Object.entries(bindings).flatMap(([key, list]) =>
    (Array.isArray(list) ? (list as Record<string, unknown>[]) : []).flatMap(({ HostIp, HostPort }) => {
      const port = Number(HostPort);
      if (!Number.isInteger(port) || port <= 0) return [];
      return [{ ip: typeof HostIp === "string" ? HostIp : "", port, protocol: key.split("/")[1] ?? "tcp" }];
    }),
  );
}

const everywhere = new Set(["", "0.0.0.0", "::"]);

function overlap(a: PortUse, b: PortUse): boolean {
  if (a.port !== b.port || a.protocol !== b.protocol) return false;
  return a.ip === b.ip || everywhere.has(a.ip) || everywhere.has(b.ip);
}

/** A volume with data may be written over only when the replaced container alone uses it. */
function refuseVolumes({ volumes }: ContainerSpec, replaces: string | undefined, facts: NodeFacts): Refusal[] {
  const own = new Set(facts.containers.find(({ id }) => id === replaces)?.volumes);
  return volumes.flatMap(({ name, driver }): Refusal[] => {
    if (driver !== "local") {
      return [{ code: "volume-driver", message: `volume ${name} has the driver ${driver}: only local volumes move` }];
    }
    const user = facts.containers.find(
      (container) =>
        container.id !== replaces && (container.running || own.has(name)) && container.volumes.includes(name),
    );
    if (user !== undefined) {
      const message = `volume ${name} of the destination is used by container ${user.name}: remove that container, or rename the volume`;
      return [{ code: "volume-in-use", message }];
    }
    const present = facts.volumes.find((volume) => volume.name === name);
    if (present !== undefined && !isPlain(present)) {
      const message = `the destination has a volume ${name} that is not a plain local one, so what it holds cannot be seen here: remove it (docker volume rm ${name}) if it is not needed, or rename the volume`;
      return [{ code: "volume-exists", message }];
    }
    if (present === undefined || present.empty || own.has(name)) return [];
    const message = `the destination has a volume ${name} with data of its own: remove it (docker volume rm ${name}) if it is not needed`;
    return [{ code: "volume-exists", message }];
  });
}

/** A directory with data may be written over only when the replaced container alone has it. */
function refuseBinds(replaces: string | undefined, { binds, containers }: NodeFacts): Refusal[] {
  const own = new Set(containers.find(({ id }) => id === replaces)?.binds.map(({ path }) => path));
  return binds.flatMap(({ path, is }): Refusal[] => {
    if (is === "no-directory") {
      const message = `${path} of the destination is no directory by itself (a file, or reached by a symbolic link): move it away`;
      return [{ code: "bind-exists", message }];
    }
    // Whoever may write above it could lead what is written there elsewhere; whoever may write below would write into it.
    // Who has the whole host has it anyway.
    const uses = (used: { path: string; writable: boolean }): boolean =>
      used.path === path || (used.writable && used.path !== "/" && pathsOverlap(used.path, path));
    const user = containers.find(({ id, binds: all }) => id !== replaces && all.some(uses));
    if (user !== undefined) {
      const mounted = user.binds.find(uses)?.path ?? path;
      const what =
        mounted === path ? `${path} of the destination is` : `${path} of the destination overlaps ${mounted},`;
      const message = `${what} mounted in container ${user.name}: remove that container, or declare the path shared (--shared-path) if both nodes see the same storage there`;
      return [{ code: "bind-in-use", message }];
    }
    if (is !== "filled" || own.has(path)) return [];
    const message = `${path} of the destination has data of its own: move it away if it is not needed, or declare the path shared (--shared-path) if both nodes see the same storage there`;
    return [{ code: "bind-exists", message }];
  });
}

/** Docker would make an empty directory there. */
function refuseShares({ absentShares }: NodeFacts): Refusal[] {
  return absentShares.map((path) => {
    const message = `${path} is declared shared (--shared-path), but the destination has nothing there: mount the storage on it`;
    return { code: "shared-path", message };
  });
}

/** Whether Docker keeps its files on this node itself, rather than mount them when a container uses them. */
function isPlain({ driver, options }: PresentVolume): boolean {
  return driver === "local" && !["device", "type", "o"].some((key) => key in options);
}

function refuseSecurity({ hostConfig }: ContainerSpec, { appArmorProfiles, seccomp }: NodeFacts): Refusal[] {
  const options = Array.isArray(hostConfig["SecurityOpt"]) ? (hostConfig["SecurityOpt"] as unknown[]).map(String) : [];
  return options.flatMap((option): Refusal[] => {
    const [, key, value = ""] = /^([a-z-]+)[=:](.*)$/s.exec(option) ?? [];
    if (key === "apparmor" && value !== "unconfined" && appArmorProfiles?.includes(value) !== true) {
      const message = `the AppArmor profile ${value} is not loaded on the destination: load it with apparmor_parser`;
      return [{ code: "apparmor", message }];
    }
    if (key === "seccomp" && value !== "unconfined" && !seccomp) {
      return [{ code: "seccomp", message: "Docker on the destination has no seccomp, which the container asks for" }];
    }
    return [];
  });
}
