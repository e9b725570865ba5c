/**
 * Where a process's control group lies in this process's file system, from the text of /proc/PID/cgroup and
 * /proc/self/mountinfo. Inside a container only a part of the hierarchy is mounted, so both are needed.
 */

interface CgroupMount {
  version: 1 | 2;
  controllers: string[];
  /** The part of the hierarchy that is mounted, and where. */
  root: string;
  mountPoint: string;
}

export interface CgroupLocation {
  version: 1 | 2;
  /** Directory of the group in this process's file system. */
  dir: string;
}

/**
 * The directory of the group that governs `controller` for the process: the version 1 hierarchy of that controller
 * when it has one, the unified one otherwise. Undefined when no mount shows it.
 */
export function locateCgroup(controller: string, procCgroup: string, mountInfo: string): CgroupLocation | undefined {
  const mounts = parseMounts(mountInfo);
  for (const { controllers, path } of parseMemberships(procCgroup)) {
    const version = controllers.length === 0 ? 2 : 1;
    if (version === 1 && !controllers.includes(controller)) continue;
    for (const mount of mounts) {
      if (mount.version !== version || (version === 1 && !mount.controllers.includes(controller))) continue;
      const rest = below(mount.root, path);
      if (rest !== undefined) return { version, dir: mount.mountPoint + rest };
    }
  }
  return undefined;
}

/** Where the hierarchy that has this controller is mounted: the one of version 1, or else the unified one. */
export function findControllerMount(controller: string, mountInfo: string): CgroupLocation | undefined {
  const mounts = parseMounts(mountInfo);
  const found =
    mounts.find(({ version, controllers }) => version === 1 && controllers.includes(controller)) ??
    mounts.find(({ version }) => version === 2);
  return found && { version: found.version, dir: found.mountPoint };
}

/** `path` below `root`, with a leading slash (empty for `root` itself); undefined when it lies elsewhere. */
function below(root: string, path: string): string | undefined {
  if (path.split("/").includes("..")) return undefined;
  const base = root === "/" ? "" : root;
  if (path === root || path === base) return "";
  return path.startsWith(`${base}/`) ? path.slice(base.length) : undefined;
}

/** Lines `6:freezer:/docker/1234`; the unified hierarchy has no controllers, and comes last in the kernel's order. */
function parseMemberships(text: string): { controllers: string[]; path: string }[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) return [];
    return [{ controllers: (match[1] ?? "").split(",").filter((name) => name !== ""), path: match[2] ?? "/" }];
  });
}

/** Lines `179 173 0:34 ROOT MOUNTPOINT OPTIONS … - cgroup SOURCE rw,freezer` (proc_pid_mountinfo(5)). */
function parseMounts(text: string): CgroupMount[] {
  return text.split("\n").flatMap((line): CgroupMount[] => {
    const [head = "", tail = ""] = line.split(" - ");
    const [, , , root = "", mountPoint = ""] = head.split(" ");
    const [type, , options = ""] = tail.split(" ");
    if ((type !== "cgroup" && type !== "cgroup2") || root === "") return [];
    return [
      {
        version: type === "cgroup" ? 1 : 2,
        controllers: options.split(","),
        root: unescapeMount(root),
        mountPoint: unescapeMount(mountPoint),
      },
    ];
  });
}

/** The kernel writes space, tab, newline and backslash of a path as three octal digits. */
const unescapeMount = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
