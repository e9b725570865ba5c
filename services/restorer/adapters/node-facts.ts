/** Reads what this node has that matters to a container about to come: the input of core/refuse.ts. */
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerSpec } from "../../shared/contracts/container.ts";
import { findControllerMount } from "../../shared/core/cgroup-path.ts";
import { limitedDevices } from "../core/limited-devices.ts";
import { listeningPorts } from "../core/listening.ts";
import type { NodeFacts, PortUse } from "../core/refuse.ts";
import { lookAtBindDirectory } from "./bind-directories.ts";
import type { Engine } from "./engine.ts";

export async function readNodeFacts(
  engine: Engine,
  spec: ContainerSpec,
  { moveBinds, sharedBinds }: { moveBinds: readonly string[]; sharedBinds: readonly string[] },
): Promise<NodeFacts> {
  const [info, containers, networks, volumes, cpuset, binds, absentShares, absentDevices, ...kernel] =
    await Promise.all([
      engine.info(),
      engine.containers(),
      engine.networks(),
      Promise.all(spec.volumes.map(({ name }) => engine.volume(name))),
      readCpuset(),
      Promise.all(moveBinds.map(async (path) => ({ path, is: await lookAtBindDirectory(path) }))),
      absent(sharedBinds),
      absent(limitedDevices(spec.hostConfig)),
      readListening(),
      readAppArmorProfiles(),
    ]);
  const [listening, appArmorProfiles] = kernel;
  const { version, runtimes, seccomp, cpus, cgroupDriver, cgroupVersion, lackingLimits } = info;
  return {
    ...{ dockerMajor: Number.parseInt(version), runtimes, seccomp, containers, networks },
    ...{ volumes: volumes.filter((volume) => volume !== undefined), binds, absentShares },
    ...{ cpus, cpuset, cgroupDriver, cgroupVersion, lackingLimits, absentDevices },
    ...{ listening, appArmorProfiles },
  };
}

/** What Docker goes by: the root of the control groups, as far as it is mounted here. */
async function readCpuset(): Promise<NodeFacts["cpuset"]> {
  const mount = findControllerMount("cpuset", await readFile("/proc/self/mountinfo", "utf8"));
  const read = async (kind: "cpus" | "mems"): Promise<string | undefined> => {
    if (mount === undefined) return undefined;
    const name = mount.version === 1 ? `cpuset.${kind}` : `cpuset.${kind}.effective`;
    return readFile(join(mount.dir, name), "utf8").catch(() => undefined);
  };
  const [cpus, mems] = await Promise.all([read("cpus"), read("mems")]);
  return { cpus, mems };
}

/** Those of the paths where there is nothing. */
async function absent(paths: readonly string[]): Promise<string[]> {
  const looks = paths.map((path) =>
    access(path).then(
      () => [],
      () => [path],
    ),
  );
  return (await Promise.all(looks)).flat();
}

async function readListening(): Promise<PortUse[]> {
  const tables = (["tcp", "tcp6", "udp", "udp6"] as const).map(async (table) => {
    // Without IPv6 the tables of IPv6 are not there.
    const text = await readFile(`/proc/net/${table}`, "utf8").catch(() => "");
    return listeningPorts(text, table.startsWith("tcp") ? "tcp" : "udp");
  });
  return (await Promise.all(tables)).flat();
}

async function readAppArmorProfiles(): Promise<string[] | undefined> {
  try {
    const text = await readFile("/sys/kernel/security/apparmor/profiles", "utf8");
    return text.split("\n").flatMap((line) => /^(.+) \(\w+\)$/.exec(line)?.[1] ?? []);
  } catch {
    return undefined; // No AppArmor in this kernel, or securityfs is not mounted.
  }
}
