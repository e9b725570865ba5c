/**
 * Why this node cannot hold a container to its limits: processors and memory nodes that it has not got, for which Docker would
 * not create the container, and limits that its kernel has not got, which Docker would leave out. Pure.
 */
import type { ContainerSpec } from "../../shared/contracts/container.ts";
import { isPlainPath } from "./cgroup-root.ts";
import type { Refusal } from "../../shared/errors.ts";
import { formatCpuList, parseCpuList } from "./cpu-list.ts";

/** Limits that a kernel may lack, by the names that `docker info` has for them. */
export type KernelLimit = "MemoryLimit" | "CpuCfsQuota" | "CPUShares" | "CPUSet" | "PidsLimit" | "OomKillDisable";

export interface LimitFacts {
  /** Processors that Docker counts; undefined where it does not say. */
  cpus: number | undefined;
  /** Lists of processors and of memory nodes that a container may have here; undefined where they cannot be read. */
  cpuset: { cpus: string | undefined; mems: string | undefined };
  /** Limits that the kernel has not got. */
  lackingLimits: readonly KernelLimit[];
  /** `systemd` or `cgroupfs`; undefined where Docker does not say. */
  cgroupDriver: string | undefined;
  /** `1` or `2`; undefined where Docker does not say. */
  cgroupVersion: string | undefined;
  /** Of the block devices that the container's limits name: those that are not here. */
  absentDevices: readonly string[];
}

type HostConfig = ContainerSpec["hostConfig"];

/** Every reason at once. */
export function refuseLimits({ name, hostConfig }: ContainerSpec, facts: LimitFacts): Refusal[] {
  const { cpuset } = facts;
  return [
    ...refuseCpus(name, hostConfig, facts.cpus),
    ...refuseSet(name, { what: "CPUs", option: "--cpuset-cpus", wanted: hostConfig["CpusetCpus"], here: cpuset.cpus }),
    ...refuseSet(name, {
      what: "memory nodes",
      option: "--cpuset-mems",
      wanted: hostConfig["CpusetMems"],
      here: cpuset.mems,
    }),
    ...refuseLacking(name, hostConfig, facts.lackingLimits),
    ...refuseParent(name, hostConfig, facts),
    ...facts.absentDevices.map((path) => {
      const message = `${name} has a limit for reads or writes of the device ${path}, which the destination has not got: create it without`;
      return { code: "blkio-device", message };
    }),
  ];
}

const nanoCpusPerCpu = 1e9;

function refuseCpus(name: string, hostConfig: HostConfig, here: number | undefined): Refusal[] {
  const wanted = numberOf(hostConfig["NanoCpus"]) / nanoCpusPerCpu;
  if (here === undefined || wanted <= here) return [];
  const message =
    `${name} may use ${wanted} CPUs (--cpus), and the destination has ${here}: ` +
    `let it use fewer (docker update --cpus ${here} ${name}), or choose a destination with more`;
  return [{ code: "cpus", message }];
}

interface WantedSet {
  what: string;
  option: string;
  wanted: unknown;
  here: string | undefined;
}

function refuseSet(name: string, { what, option, wanted, here = "" }: WantedSet): Refusal[] {
  const present = parseCpuList(here) ?? [];
  // What we cannot read is Docker's to judge.
  const asked = typeof wanted === "string" ? (parseCpuList(wanted) ?? []) : [];
  const missing = asked.filter((number) => !present.includes(number));
  if (present.length === 0 || missing.length === 0) return [];
  const common = asked.filter((number) => present.includes(number));
  const advised = formatCpuList(common.length > 0 ? common : present);
  const message =
    `${name} runs on the ${what} ${formatCpuList(asked)} (${option}), and the destination has ${formatCpuList(present)}: ` +
    `let it run on others (docker update ${option} ${advised} ${name}), or choose a destination that has them`;
  return [{ code: "cpuset", message }];
}

/** What a container asks for that needs a limit of the kernel, in the words of `docker run`. */
const users: readonly { limit: KernelLimit; option: string; isSet: (hostConfig: HostConfig) => boolean }[] = [
  { limit: "MemoryLimit", option: "--memory", isSet: (host) => numberOf(host["Memory"]) > 0 },
  {
    limit: "CpuCfsQuota",
    option: "--cpus or --cpu-quota",
    isSet: (host) => numberOf(host["NanoCpus"]) > 0 || numberOf(host["CpuQuota"]) > 0,
  },
  { limit: "CPUShares", option: "--cpu-shares", isSet: (host) => numberOf(host["CpuShares"]) > 0 },
  {
    limit: "CPUSet",
    option: "--cpuset-cpus or --cpuset-mems",
    isSet: (host) => Boolean(host["CpusetCpus"]) || Boolean(host["CpusetMems"]),
  },
  { limit: "PidsLimit", option: "--pids-limit", isSet: (host) => numberOf(host["PidsLimit"]) > 0 },
  { limit: "OomKillDisable", option: "--oom-kill-disable", isSet: (host) => host["OomKillDisable"] === true },
];

function refuseLacking(name: string, hostConfig: HostConfig, lacking: readonly KernelLimit[]): Refusal[] {
  return users.flatMap(({ limit, option, isSet }): Refusal[] => {
    if (!lacking.includes(limit) || !isSet(hostConfig)) return [];
    const message = `${name} has a limit (${option}) that the destination's kernel cannot hold it to, so Docker would leave it out: enable its control group there (docker info names what is missing), or create the container without`;
    return [{ code: "kernel-limit", message }];
  });
}

function refuseParent(
  name: string,
  hostConfig: HostConfig,
  { cgroupDriver, cgroupVersion }: Pick<LimitFacts, "cgroupDriver" | "cgroupVersion">,
): Refusal[] {
  const parent = hostConfig["CgroupParent"];
  if (typeof parent !== "string" || parent === "") return [];
  const refuse = (why: string): Refusal[] => [
    { code: "cgroup-parent", message: `${name} has the control group ${parent} (--cgroup-parent), ${why}` },
  ];
  if (cgroupDriver === "systemd" && !parent.endsWith(".slice"))
    return refuse(
      "and Docker on the destination keeps them by systemd, where it must be a slice (….slice): create it without, or set the same cgroup driver on both nodes",
    );
  // CRIU must be told where it is.
  if (cgroupDriver !== "systemd" && cgroupVersion === "2" && !isPlainPath(parent))
    return refuse(
      "which must be a whole path of letters, digits and . : @ - _ on a destination with cgroup version 2: create it with one, or without",
    );
  return [];
}

const numberOf = (value: unknown): number => (typeof value === "number" ? value : 0);
