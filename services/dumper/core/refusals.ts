/**
 * Everything about a container itself that rules a migration out, all at once. Pure. Each refusal has a stable code and
 * a sentence that says what to do.
 */
import type { NamelessFile } from "../../shared/adapters/processes.ts";
import { pathsOverlap } from "../../shared/core/bind-path.ts";
import type { Refusal } from "../../shared/errors.ts";

/** Of one file that is open and has no name any more: it is in CRIU's images. CRIU's own bound is 1 MiB. */
export const mostGhostBytes = 256 << 20;

/** What the rules look at: Docker's inspect data in part, and what was seen on the node. */
export interface ContainerFacts {
  id: string;
  name: string;
  state: { running: boolean; paused: boolean; restarting: boolean };
  tty: boolean;
  privileged: boolean;
  runtime: string;
  networkMode: string;
  pidMode: string;
  ipcMode: string;
  utsMode: string;
  /** Device paths given with --device. */
  devices: readonly string[];
  /** Requests such as --gpus, by driver or capability. */
  deviceRequests: readonly string[];
  swarmManaged: boolean;
  usersRemapped: boolean;
  /** Docker's storage driver, and whether it is an overlay of which this node shows the container's own files. */
  storageDriver: string;
  showsLayer: boolean;
  imagePresent: boolean;
  mounts: readonly MountFacts[];
  /** Targets of volumes of which it mounts only a directory. */
  subpathMounts: readonly string[];
  /** Sources of the bind mounts that are to move with it. */
  movedBinds: readonly string[];
  /** Targets of bind mounts that it has from another container. */
  inheritedBinds: readonly string[];
  /** As Docker keeps them: "/name:/container/alias". */
  links: readonly string[];
  /** Commands of `docker exec` sessions under way, without health checks. */
  execs: readonly string[];
  /** Where the open files of all its processes lead. */
  openFiles: readonly string[];
  /** By inotify: files of its own layers that CRIU finds nowhere. */
  watchesUnknownFiles: boolean;
  /** Open in it, without a name. */
  namelessFiles: readonly NamelessFile[];
  /** The other containers that run on this node. */
  others: readonly OtherContainer[];
}

/** What another container may share with this one. */
export interface OtherContainer {
  name: string;
  networkMode: string;
  pidMode: string;
  ipcMode: string;
  /** Names of the volumes that it mounts writable. */
  writableVolumes: readonly string[];
  /** Sources of the bind mounts that it mounts writable. */
  writableBinds: readonly string[];
}

export interface MountFacts {
  type: string;
  name: string;
  target: string;
  driver: string;
  /** The volume's own driver options: for the local driver what it mounts, and from where. */
  options: Readonly<Record<string, string>>;
}

/** Runtimes that keep their state as runc does; `dmigrate` is runc behind our wrapper. */
const runcRuntimes = new Set(["", "runc", "dmigrate", "io.containerd.runc.v2"]);

/** Kinds of anonymous inodes that CRIU 4.2 dumps. What is not here makes the dump fail while the container is frozen. */
const dumpableInodes = new Set([
  "eventpoll",
  "eventfd",
  "signalfd",
  "timerfd",
  "inotify",
  "fanotify",
  "pidfd",
  "bpf-map",
]);

export function findRefusals(facts: ContainerFacts): Refusal[] {
  return [
    ...notRunning(facts),
    ...hostNamespaces(facts),
    ...rights(facts),
    ...management(facts),
    ...storage(facts),
    ...sharing(facts),
    ...inside(facts),
  ];
}

function notRunning({ name, state }: ContainerFacts): Refusal[] {
  if (state.paused) return [{ code: "paused", message: `${name} is paused; run docker unpause ${name} first` }];
  if (state.restarting)
    return [{ code: "restarting", message: `${name} is restarting; find out why it fails, then migrate it` }];
  if (!state.running) {
    return [
      { code: "not-running", message: `${name} is not running; start it, or create it at the destination instead` },
    ];
  }
  return [];
}

function hostNamespaces({ name, networkMode, pidMode, ipcMode, utsMode }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  const refuse = (code: string, what: string, remedy: string): void => {
    refusals.push({ code, message: `${name} uses ${what}, which stays on this node; create it with ${remedy}` });
  };
  if (networkMode === "host")
    refuse("host-network", "the host's network", "a network of its own and published ports (-p)");
  if (networkMode.startsWith("container:"))
    refuse("container-network", "another container's network", "a network of its own");
  if (pidMode === "host") refuse("host-pid", "the host's processes (--pid host)", "its own pid namespace");
  if (pidMode.startsWith("container:"))
    refuse("container-pid", "another container's processes (--pid)", "its own pid namespace");
  if (ipcMode === "host") refuse("host-ipc", "the host's shared memory (--ipc host)", "--ipc private");
  if (ipcMode.startsWith("container:"))
    refuse("container-ipc", "another container's shared memory (--ipc)", "--ipc private");
  if (utsMode === "host") refuse("host-uts", "the host's name (--uts host)", "its own name (--hostname)");
  return refusals;
}

function rights({ name, privileged, devices, deviceRequests, usersRemapped }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  if (privileged) {
    const message = `${name} is privileged, so it may hold on to anything of this node; create it with the capabilities it needs (--cap-add)`;
    refusals.push({ code: "privileged", message });
  }
  if (devices.length > 0) {
    const message = `${name} has devices of this node (${devices.join(", ")}), which do not move; create it without --device`;
    refusals.push({ code: "devices", message });
  }
  if (deviceRequests.length > 0) {
    const message = `${name} has device requests (${deviceRequests.join(", ")}), whose state does not move; create it without --gpus`;
    refusals.push({ code: "device-requests", message });
  }
  if (usersRemapped) {
    const message =
      "Docker on this node maps container users to others (userns-remap), which CRIU cannot restore; turn it off in daemon.json";
    refusals.push({ code: "userns-remap", message });
  }
  return refusals;
}

function management({ name, swarmManaged, runtime, links, inheritedBinds }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  if (links.length > 0) {
    const message = `${name} is linked to containers of this node (--link ${links.join(", ")}), which stay; create it with a network that it shares with them`;
    refusals.push({ code: "links", message });
  }
  if (inheritedBinds.length > 0) {
    const message = `${name} has bind mounts from another container (--volumes-from): ${inheritedBinds.join(", ")}; create it with bind mounts of its own (-v)`;
    refusals.push({ code: "volumes-from", message });
  }
  if (swarmManaged) {
    const message = `${name} is a task of a Swarm service, which would start another in its place; move it with the service's placement constraints`;
    refusals.push({ code: "swarm", message });
  }
  if (!runcRuntimes.has(runtime)) {
    refusals.push({
      code: "runtime",
      message: `${name} runs under ${runtime}, and CRIU needs runc; create it with --runtime runc`,
    });
  }
  return refusals;
}

function storage({ name, storageDriver, showsLayer, imagePresent, mounts, subpathMounts }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  for (const target of subpathMounts) {
    const message = `${name} mounts a directory of a volume at ${target} (volume-subpath), which Docker at the destination would look for before it is copied; mount the whole volume`;
    refusals.push({ code: "volume-subpath", message });
  }
  if (!showsLayer) {
    const message = `Docker on this node stores ${name} with ${storageDriver}, which does not show its changed files; use the storage driver overlay2, or the containerd image store with the snapshotter overlayfs`;
    refusals.push({ code: "storage-driver", message });
  }
  if (!imagePresent) {
    refusals.push({
      code: "image-missing",
      message: `the image of ${name} is not on this node any more; pull it again`,
    });
  }
  for (const { type, name: volume, target, driver, options } of mounts) {
    if (type === "cluster" || type === "image" || type === "npipe") {
      refusals.push({
        code: "mount-type",
        message: `${target} is a mount of type ${type}, which cannot be moved; use a volume`,
      });
    } else if (type === "volume" && driver !== "local") {
      const message = `volume ${volume} at ${target} belongs to the driver ${driver}, whose data we cannot move; use a local volume`;
      refusals.push({ code: "volume-driver", message });
    } else if (type === "volume" && options["device"] !== undefined) {
      const message = `volume ${volume} at ${target} mounts ${options["device"]} by driver options; use a plain local volume, or a bind mount of shared storage`;
      refusals.push({ code: "volume-options", message });
    }
  }
  return refusals;
}

/** What would be torn apart: another container stays here with its half. */
function sharing({ id, name, mounts, movedBinds, others }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  const volumes = new Set(mounts.filter(({ type }) => type === "volume").map((mount) => mount.name));
  const names = new Set(others.map((other) => other.name));
  const isThis = (mode: string): boolean => {
    const ref = /^container:\/?(.+)$/.exec(mode)?.[1];
    // As Docker looks it up: a name comes before the beginning of an id.
    return ref !== undefined && (ref === name || (!names.has(ref) && id.startsWith(ref)));
  };
  for (const other of others) {
    const written = [...new Set(other.writableVolumes)].filter((volume) => volumes.has(volume));
    if (written.length > 0) {
      const message = `${other.name} may write to the volume ${written.join(", ")} of ${name} while it moves, and would keep a copy of its own; stop ${other.name} first, or mount the volume read-only in it (:ro)`;
      refusals.push({ code: "volume-shared", message });
    }
    const overlapping = other.writableBinds.filter((path) => movedBinds.some((moved) => pathsOverlap(path, moved)));
    if (overlapping.length > 0) {
      const message = `${other.name} may write to ${overlapping.join(", ")} while ${name} moves with it (--move-bind), and would keep a copy of its own; stop ${other.name} first, or mount it read-only there (:ro)`;
      refusals.push({ code: "bind-shared", message });
    }
    const modes = { network: other.networkMode, pid: other.pidMode, ipc: other.ipcMode };
    const shared = Object.entries(modes).flatMap(([kind, mode]) => (isThis(mode) ? [`--${kind}`] : []));
    if (shared.length > 0) {
      const message = `${other.name} lives in namespaces of ${name} (${shared.join(", ")} container:${name}), which leave this node; stop ${other.name} first, or create it with its own`;
      refusals.push({ code: "namespace-shared", message });
    }
  }
  return refusals;
}

function inside({ name, tty, execs, openFiles, watchesUnknownFiles, namelessFiles }: ContainerFacts): Refusal[] {
  const refusals: Refusal[] = [];
  if (tty)
    refusals.push({
      code: "tty",
      message: `${name} has a terminal (-t), which cannot be moved yet; create it without -t`,
    });
  if (execs.length > 0) {
    const message = `docker exec sessions run in ${name} (${execs.join("; ")}), which would be lost; end them first`;
    refusals.push({ code: "exec-running", message });
  }
  if (watchesUnknownFiles) {
    const message = `${name} watches files of its image or writable layer by inotify outside of /etc, /var/log and /var/spool, which CRIU cannot dump; let it watch a volume instead, or poll`;
    refusals.push({ code: "inotify", message });
  }
  const large = namelessFiles.filter(({ bytes }) => bytes > mostGhostBytes);
  if (large.length > 0) {
    const message = `${name} has ${large.length === 1 ? "a file" : `${large.length} files`} open of more than ${mostGhostBytes >> 20} MiB without a name any more, which would have to move while it stands still; let it close them`;
    refusals.push({ code: "nameless-file", message });
  }
  const kinds = [...new Set(openFiles.map(undumpable).filter((kind) => kind !== undefined))];
  for (const kind of kinds) {
    const how =
      kind === "io_uring" ? "turn io_uring off in the program's settings" : "it must be closed before a migration";
    refusals.push({
      code: kind === "io_uring" ? "io-uring" : "open-file",
      message: `${name} has an open ${kind}, which CRIU cannot dump; ${how}`,
    });
  }
  return refusals;
}

/** What an open file is that CRIU cannot dump; undefined for one that it can. */
export function undumpable(link: string): string | undefined {
  // "anon_inode:[eventpoll]", but also "anon_inode:inotify"
  const kind = /^anon_inode:\[?([^\]]*)\]?$/.exec(link)?.[1];
  return kind === undefined || dumpableInodes.has(kind) ? undefined : kind;
}
