/** What can be said about a node from afar: what it told the planner, and its own readiness where it can be asked. */
import { isOlder, parseVersion } from "../../planner/core/versions.ts";
import { readinessSchema, type Check, type NodeResources } from "../../shared/contracts/common.ts";
import type { Node } from "../../shared/contracts/planner.ts";
import { formatBytes } from "../table.ts";
import { mergeChecks } from "./merge-checks.ts";

export async function checkRemoteNode(node: Node): Promise<Check[]> {
  const { name, reachable, resources } = node;
  const detail = reachable ? `node ${name} answers the planner at ${node.agentUrl}` : (node.error ?? "no answer");
  const fix = `start the agent on node ${name}, and register it with the right URL and token: dmigrate nodes add ${name} …`;
  const answers: Check = { name: "reachable", ok: reachable, detail, ...(!reachable && { fix }) };
  const told = resources === undefined ? [] : checkResources(resources);
  return mergeChecks([answers, ...told, ...(await askReadiness(node))]);
}

const leastMemoryBytes = 256 << 20;
const leastRoomBytes = 64 << 20;

function checkResources(resources: NodeResources): Check[] {
  const { criuVersion, runcVersion, kernel, docker, memoryAvailableBytes, diskFreeBytes, stateFreeBytes } = resources;
  const check = (name: string, ok: boolean, detail: string, fix: string): Check => ({
    name,
    ok,
    detail,
    ...(!ok && { fix }),
  });
  const criu = criuVersion === undefined ? undefined : parseVersion(criuVersion);
  const linux = parseVersion(kernel);
  return [
    check(
      "kernel",
      linux !== undefined && !isOlder(linux, { major: 4, minor: 11 }),
      `Linux ${kernel}`,
      "run 4.11 or newer",
    ),
    check(
      "criu",
      criu !== undefined && !isOlder(criu, { major: 4, minor: 2 }),
      criuVersion === undefined ? "not installed" : `CRIU ${criuVersion}`,
      "install CRIU 4.2 or newer",
    ),
    check(
      "runc",
      runcVersion !== undefined,
      runcVersion === undefined ? "not installed" : `runc ${runcVersion}`,
      "install runc",
    ),
    check(
      "dmigrate runtime",
      docker.hasDmigrateRuntime,
      `Docker ${docker.version} knows ${docker.runtimes.join(", ")}`,
      'add "runtimes": {"dmigrate": {"path": "/usr/local/bin/dmigrate-runc"}} to daemon.json, and reload dockerd',
    ),
    check(
      "memory",
      memoryAvailableBytes >= leastMemoryBytes,
      `${formatBytes(memoryAvailableBytes)} available`,
      "free some",
    ),
    check(
      "disk",
      diskFreeBytes >= leastMemoryBytes,
      `${formatBytes(diskFreeBytes)} free at ${docker.rootDir}`,
      "free some",
    ),
    check(
      "state room",
      stateFreeBytes >= leastRoomBytes,
      `${formatBytes(stateFreeBytes)} free`,
      "free some: 64 MiB at least",
    ),
  ];
}

/** Readiness needs no token. From here the agent may be out of reach: then the planner's view must do. */
async function askReadiness({ agentUrl }: Node): Promise<Check[]> {
  try {
    const response = await fetch(`${agentUrl.replace(/\/$/, "")}/readyz`, { signal: AbortSignal.timeout(20_000) });
    return readinessSchema.parse(await response.json()).checks;
  } catch {
    return [];
  }
}
