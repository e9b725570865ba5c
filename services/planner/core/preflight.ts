/**
 * Everything that rules a migration out, all at once, before anything is touched. Pure. Each refusal has a stable code
 * and a sentence that says what to do.
 */
import type { NodeResources } from "../../shared/contracts/common.ts";
import type { ContainerProfile } from "../../shared/contracts/container.ts";
import type { MigrationMode } from "../../shared/contracts/planner.ts";
import type { Places } from "../../shared/contracts/restorer.ts";
import { bindPathProblem } from "../../shared/core/bind-path.ts";
import type { Refusal } from "../../shared/errors.ts";
import { missingFlags } from "./cpu-flags.ts";
import { findBeyondLimit } from "./memory-limit.ts";
import { findNoRoom } from "./room.ts";
import { compareVersions, isOlder, parseVersion, type Version } from "./versions.ts";

export interface PreflightInput {
  from: string;
  to: string;
  profile: ContainerProfile;
  source: NodeResources;
  destination: NodeResources;
  mode: MigrationMode;
  /** Host paths that both nodes see as the same storage. */
  sharedPaths: readonly string[];
  /** Sources of bind mounts that are to be moved. */
  moveBinds: readonly string[];
  shipImage: boolean;
  /** Where the parts would be written there, as its restorer told. */
  places: Places | undefined;
  /** What the restorer at the destination said. */
  destinationRefusals: readonly Refusal[];
}

/** The first CRIU whose images and page-server protocol work here and on current kernels. */
const leastCriu: Version = { major: 4, minor: 2 };
/** The first kernel whose userfaultfd reports fork, remap and unmap, without which lazy pages lose data. */
const leastKernel: Version = { major: 4, minor: 11 };

export function findRefusals(input: PreflightInput): Refusal[] {
  return [
    ...sameNode(input),
    ...input.profile.refusals,
    ...bindMounts(input),
    ...cpu(input),
    ...kernels(input),
    ...criu(input),
    ...docker(input),
    ...findBeyondLimit(input),
    ...findNoRoom(input),
    ...input.destinationRefusals,
  ];
}

function sameNode({ from, to }: PreflightInput): Refusal[] {
  if (from !== to) return [];
  return [{ code: "same-node", message: `the container is on node ${from} already; choose another destination` }];
}

function bindMounts({ profile, sharedPaths, moveBinds }: PreflightInput): Refusal[] {
  const unknown = moveBinds.filter((path) => !profile.bindMounts.some(({ source }) => source === path));
  const strays = unknown.map((path) => ({
    code: "move-bind",
    message: `${path} was to be moved (--move-bind), but the container has no bind mount of it`,
  }));
  return [...strays, ...profile.bindMounts.flatMap((mount) => bindMount(mount, sharedPaths, moveBinds))];
}

function bindMount(
  { source, target, directory }: ContainerProfile["bindMounts"][number],
  sharedPaths: readonly string[],
  moveBinds: readonly string[],
): Refusal[] {
  const isShared = isSharedBy(sharedPaths, source);
  if (moveBinds.includes(source)) {
    const refuse = (why: string): Refusal[] => [{ code: "move-bind", message: `${source} cannot be moved: ${why}` }];
    if (isShared) return refuse("it is declared shared as well (--shared-path); say one of the two");
    if (!directory) return refuse("it is not a directory by itself (a file, or reached by a symbolic link)");
    const inner = moveBinds.find((other) => other !== source && isBeneath(source, other));
    return inner === undefined ? [] : refuse(`it lies in ${inner}, which is moved with all that is in it`);
  }
  if (isShared) return [];
  const share = `if both nodes see the same storage there, declare it with --shared-path ${source} (sharedPaths)`;
  const problem = directory ? bindPathProblem(source) : "is not a directory by itself";
  const advice =
    problem === undefined
      ? `move it to the same path with --move-bind ${source} (moveBinds), or, ${share}`
      : `nor can it be moved, for it ${problem}; ${share}, else create the container without it`;
  return [
    { code: "bind-mount", message: `${target} is a bind mount of ${source}, which does not move by itself; ${advice}` },
  ];
}

const isSharedBy = (sharedPaths: readonly string[], source: string): boolean =>
  sharedPaths.some((shared) => isBeneath(source, shared));

/** Sources of bind mounts on storage that both nodes see. */
export const sharedBinds = (bindMounts: ContainerProfile["bindMounts"], sharedPaths: readonly string[]): string[] =>
  bindMounts.map(({ source }) => source).filter((source) => isSharedBy(sharedPaths, source));

/** True for `shared` itself and for what lies below it; `..` is never taken as below. */
export function isBeneath(path: string, shared: string): boolean {
  if (path.split("/").includes("..") || shared.split("/").includes("..")) return false;
  const root = shared.replace(/\/+$/, "");
  return path === root || path === shared || path.startsWith(`${root}/`);
}

function cpu({ source, destination, to }: PreflightInput): Refusal[] {
  if (source.arch !== destination.arch) {
    const message = `the source is ${source.arch} and node ${to} is ${destination.arch}; processes move between equal architectures only`;
    return [{ code: "architecture", message }];
  }
  const missing = missingFlags(source.cpu.flags, destination.cpu.flags);
  if (missing.length === 0) return [];
  const message =
    `node ${to} (${destination.cpu.model}) lacks CPU features that the container may be using: ${missing.join(", ")}; ` +
    "choose a destination with the same or a newer CPU";
  return [{ code: "cpu-features", message }];
}

function kernels({ from, to, source, destination }: PreflightInput): Refusal[] {
  const refusals: Refusal[] = [];
  for (const [name, node] of [
    [from, source],
    [to, destination],
  ] as const) {
    const version = parseVersion(node.kernel);
    if (version !== undefined && isOlder(version, leastKernel)) {
      const message = `node ${name} runs kernel ${node.kernel}; post-copy needs 4.11 or newer`;
      refusals.push({ code: "kernel", message });
    }
  }
  const [there, here] = [source.docker.cgroupVersion, destination.docker.cgroupVersion];
  if (there !== here) {
    const message = `node ${from} uses cgroup v${there} and node ${to} cgroup v${here}; CRIU restores cgroups of the same version only`;
    refusals.push({ code: "cgroup-version", message });
  }
  return refusals;
}

function criu({ from, to, source, destination }: PreflightInput): Refusal[] {
  const refusals: Refusal[] = [];
  const read = (name: string, text: string | undefined): Version | undefined => {
    const version = text === undefined ? undefined : parseVersion(text);
    if (version === undefined) {
      refusals.push({ code: "criu-missing", message: `node ${name} has no CRIU; install 4.2 or newer` });
    } else if (isOlder(version, leastCriu)) {
      refusals.push({ code: "criu-too-old", message: `node ${name} has CRIU ${String(text)}; install 4.2 or newer` });
    }
    return version;
  };
  const dump = read(from, source.criuVersion);
  const restore = read(to, destination.criuVersion);
  if (dump !== undefined && restore !== undefined && compareVersions(dump, restore) > 0) {
    const message =
      `node ${from} dumps with CRIU ${String(source.criuVersion)}, which CRIU ${String(destination.criuVersion)} on node ${to} ` +
      `may not understand; update CRIU on node ${to}`;
    refusals.push({ code: "criu-older-at-destination", message });
  }
  return refusals;
}

function docker({ from, to, source, destination }: PreflightInput): Refusal[] {
  const refusals: Refusal[] = [];
  if (!destination.docker.hasDmigrateRuntime) {
    const message =
      `Docker on node ${to} does not know the runtime dmigrate; install dmigrate-runc, add it to the runtimes in ` +
      "/etc/docker/daemon.json and reload Docker";
    refusals.push({ code: "no-runtime", message });
  }
  const [here, there] = [source.docker.imageStore, destination.docker.imageStore];
  if (here !== there) {
    const message =
      `images of node ${from} are kept by ${here}, those of node ${to} by ${there}, under other ids; set ` +
      '"features": {"containerd-snapshotter": …} alike in daemon.json of both';
    refusals.push({ code: "image-store", message });
  }
  return refusals;
}
