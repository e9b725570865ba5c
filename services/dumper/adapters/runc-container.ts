/** What runc keeps of a running container, and which of its mounts a restore brings along by itself. */
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { posix } from "node:path";
import { readProcess } from "../../shared/adapters/processes.ts";
import { DmigrateError, hasErrno, messageOf } from "../../shared/errors.ts";
import { emptyMountName, networkName } from "../../shared/core/criu/external.ts";
import type { DumpRequest } from "../core/criu-rpc.ts";
import { parseMountinfo } from "../../shared/core/mountinfo.ts";
import { parseRuncState, type RuncState } from "../core/runc-state.ts";

/** runc's state of a container: the shim that is its parent has written into its bundle where that lies. Throws `upstream`. */
export function readRuncState(containerId: string, initPid: number): RuncState {
  const shim = readProcess(initPid)?.parent ?? 0;
  let text: string;
  try {
    const args = readFileSync(`/proc/${shim}/cmdline`, "utf8").split("\0");
    const namespace = args[args.indexOf("-namespace") + 1] ?? "moby";
    const options = JSON.parse(readFileSync(`/proc/${shim}/cwd/options.json`, "utf8")) as { root?: string };
    const dir = posix.join(options.root ?? "/run/containerd/runc", namespace, containerId);
    text = readFileSync(posix.join(dir, "state.json"), "utf8");
  } catch (cause) {
    throw new DmigrateError(
      "upstream",
      `runc's state of container ${containerId.slice(0, 12)} was not found through its shim (process ${shim}): ${messageOf(cause)}; is it run by runc?`,
      { cause },
    );
  }
  return parseRuncState(text);
}

/**
 * As runc does it for its own checkpoint: a restore by runc knows these mounts by these names. Covered directories are
 * ours: CRIU would pack and unpack each of their empty tmpfs, for 5 ms of downtime every time.
 */
export function externalMounts(state: RuncState, initPid: number): DumpRequest["externalMounts"] {
  const root = `/proc/${initPid}/root`;
  const mounts = parseMountinfo(readFileSync(`/proc/${initPid}/mountinfo`, "utf8"));
  const isCovered = (path: string): boolean =>
    mounts.some(({ mountPoint, type, readOnly }) => mountPoint === path && type === "tmpfs" && readOnly);
  // Groups of version 1 in a container without a cgroup namespace are bind mounts, which its configuration does not list.
  const cgroups = hasOwnCgroups(initPid) ? [] : mounts.filter(({ type }) => type === "cgroup");
  const same = (mountPoint: string): { mountPoint: string; name: string } => ({ mountPoint, name: mountPoint });
  return [
    ...state.bindMounts.map((path) => same(resolveInside(root, path))),
    ...cgroups.map(({ mountPoint }) => same(mountPoint)),
    ...state.maskPaths.filter((path) => isFile(root + path)).map((path) => ({ mountPoint: path, name: "/dev/null" })),
    ...state.maskPaths.filter(isCovered).map((path) => ({ mountPoint: path, name: emptyMountName })),
  ];
}

/**
 * The network namespace of a process, as CRIU is told of one that the restore brings by itself. It always does, a new
 * one where need be; CRIU then spends no time on what is in it.
 */
export const externalNetwork = (pid: number): string => `net[${statSync(`/proc/${pid}/ns/net`).ino}]:${networkName}`;

const hasOwnCgroups = (pid: number): boolean =>
  readlinkSync(`/proc/${pid}/ns/cgroup`) !== readlinkSync("/proc/1/ns/cgroup");

function isFile(path: string): boolean {
  try {
    return !statSync(path).isDirectory();
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return false;
    throw error;
  }
}

const maxLinks = 255;

/** The path inside `root` that `path` leads to when symbolic links are followed there, and never out of it. */
export function resolveInside(root: string, path: string): string {
  let rest = path.split("/");
  let at = "/";
  for (let links = 0; ;) {
    const name = rest.shift();
    if (name === undefined) return at;
    if (name === "" || name === ".") continue;
    // `join` never climbs above "/".
    const next = posix.join(at, name);
    const target = name === ".." ? undefined : readLink(root + next);
    if (target === undefined) {
      at = next;
      continue;
    }
    links += 1;
    if (links > maxLinks) throw new DmigrateError("conflict", `${path} in the container has too many symbolic links`);
    if (target.startsWith("/")) at = "/";
    rest = [...target.split("/"), ...rest];
  }
}

/** Undefined when there is nothing, or no link. */
function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "EINVAL", "ENOTDIR")) return undefined;
    throw error;
  }
}
