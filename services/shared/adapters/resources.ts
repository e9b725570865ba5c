/** What a node has to spend on a migration, measured when asked: /proc, /sys, Docker, and the tools' versions. */
import { access, readdir, readFile, statfs } from "node:fs/promises";
import { arch, availableParallelism, loadavg, release } from "node:os";
import type Docker from "dockerode";
import type { NodeResources } from "../contracts/common.ts";
import { containerdRootDir, dockerError, dockerInfo, hasContainerdStore, type DockerInfo } from "./docker.ts";
import { migrationsDir } from "../node-paths.ts";
import { measureMemoryBandwidth } from "./memory-bandwidth.ts";
import { run } from "./run.ts";

/** The runtime's name in daemon.json. */
export const runtimeName = "dmigrate";

export interface ResourceProbeDeps {
  docker: Docker;
  stateDir: string;
}

/**
 * A function that measures now. Versions of tools are asked once, since they need a process each; and so is the memory's speed,
 * which takes this thread some tens of milliseconds.
 */
export function createResourceProbe(deps: ResourceProbeDeps): () => Promise<NodeResources> {
  let memoryBytesPerSecond: number | undefined;
  let versions: Promise<{ criuVersion?: string; runcVersion?: string }> | undefined;
  return async () => {
    const info = await dockerInfo(deps.docker).catch((error: unknown) => {
      throw dockerError(error, "reading the node's Docker");
    });
    versions ??= readVersions();
    memoryBytesPerSecond ??= measureMemoryBandwidth();
    const [cpu, memory, pressureSomeAvg10, disk, state, linkMbitPerSecond] = await Promise.all([
      readCpu(),
      readMemory(),
      readPressure(),
      freeForDocker(info),
      freeAt(deps.stateDir),
      fastestLink(),
    ]);
    const runtimes = Object.keys(info.Runtimes ?? {});
    return {
      cores: availableParallelism(),
      cpu,
      arch: arch(),
      kernel: release(),
      loadAverage1m: loadavg()[0] ?? 0,
      pressureSomeAvg10,
      ...memory,
      memoryBytesPerSecond,
      diskFreeBytes: disk.bytes,
      ...(disk.inodes !== undefined && { diskFreeInodes: disk.inodes }),
      stateFreeBytes: state.bytes,
      ...(linkMbitPerSecond !== undefined && { linkMbitPerSecond }),
      docker: {
        version: info.ServerVersion,
        storageDriver: info.Driver,
        imageStore: hasContainerdStore(info) ? "containerd" : "docker",
        rootDir: info.DockerRootDir,
        cgroupVersion: info.CgroupVersion ?? "1",
        runtimes,
        hasDmigrateRuntime: runtimes.includes(runtimeName),
      },
      ...(await versions),
      activeMigrations: await countMigrations(deps.stateDir),
    };
  };
}

/** Volumes and logs are Docker's; layers may be containerd's, on a file system of their own. */
async function freeForDocker(info: DockerInfo): Promise<Free> {
  const free = await freeAt(info.DockerRootDir);
  if (!hasContainerdStore(info)) return free;
  const other = await freeAt(containerdRootDir);
  if (other.bytes === 0) return free;
  const inodes = [free.inodes, other.inodes].filter((each) => each !== undefined);
  return { bytes: Math.min(free.bytes, other.bytes), inodes: inodes.length > 0 ? Math.min(...inodes) : undefined };
}

async function readVersions(): Promise<{ criuVersion?: string; runcVersion?: string }> {
  const [criu, runc] = await Promise.all([
    versionOf("criu", /Version:\s*(\S+)/),
    versionOf("runc", /runc version\s+(\S+)/),
  ]);
  return { ...(criu !== undefined && { criuVersion: criu }), ...(runc !== undefined && { runcVersion: runc }) };
}

async function versionOf(program: string, pattern: RegExp): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, ["--version"], { timeoutMs: 5_000 });
    return pattern.exec(stdout)?.[1];
  } catch {
    return undefined; // Not installed: the field stays absent, and preflight says what to install.
  }
}

async function readCpu(): Promise<NodeResources["cpu"]> {
  const text = await readFile("/proc/cpuinfo", "utf8");
  const field = (...names: string[]): string => {
    for (const name of names) {
      const value = new RegExp(`^${name}\\s*:\\s*(.*)$`, "m").exec(text)?.[1];
      if (value !== undefined) return value.trim();
    }
    return "";
  };
  const flags = field("flags", "Features").split(" ").filter(Boolean).sort();
  return { vendor: field("vendor_id", "CPU implementer"), model: field("model name", "CPU part"), flags };
}

async function readMemory(): Promise<
  Pick<NodeResources, "memoryTotalBytes" | "memoryAvailableBytes" | "swapFreeBytes">
> {
  const text = await readFile("/proc/meminfo", "utf8");
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;
  return {
    memoryTotalBytes: bytes("MemTotal"),
    memoryAvailableBytes: bytes("MemAvailable"),
    swapFreeBytes: bytes("SwapFree"),
  };
}

async function readPressure(): Promise<NodeResources["pressureSomeAvg10"]> {
  const some = async (resource: string): Promise<number | undefined> => {
    try {
      const text = await readFile(`/proc/pressure/${resource}`, "utf8");
      const value = /^some avg10=([\d.]+)/m.exec(text)?.[1];
      return value === undefined ? undefined : Number(value);
    } catch {
      return undefined; // A kernel without PSI, or with psi=0.
    }
  };
  const [cpu, io, memory] = await Promise.all([some("cpu"), some("io"), some("memory")]);
  return {
    ...(cpu !== undefined && { cpu }),
    ...(io !== undefined && { io }),
    ...(memory !== undefined && { memory }),
  };
}

/** Every migration that this node takes part in has a directory, whichever service made it. */
async function countMigrations(stateDir: string): Promise<number> {
  const names = await readdir(migrationsDir(stateDir)).catch(() => []);
  return names.length;
}

interface Free {
  bytes: number;
  /** Undefined where they are not counted, as on btrfs. */
  inodes: number | undefined;
}

async function freeAt(path: string): Promise<Free> {
  try {
    const { bavail, bsize, files, ffree } = await statfs(path);
    return { bytes: bavail * bsize, inodes: files > 0 ? ffree : undefined };
  } catch {
    return { bytes: 0, inodes: undefined }; // Not there yet: no room is the safe answer.
  }
}

async function fastestLink(): Promise<number | undefined> {
  const root = "/sys/class/net";
  const names = await readdir(root).catch(() => []);
  const speeds = await Promise.all(
    names.map(async (name) => {
      // A veth claims a nominal 10 Gbit/s whatever carries it; only a link with a device behind it is believed.
      try {
        await access(`${root}/${name}/device`);
        return Number((await readFile(`${root}/${name}/speed`, "utf8")).trim()) || 0;
      } catch {
        return 0; // Virtual, or down.
      }
    }),
  );
  const fastest = Math.max(0, ...speeds);
  return fastest > 0 ? fastest : undefined;
}
