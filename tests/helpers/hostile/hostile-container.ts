/** A container whose processes make a hostile tree in its root file system and in a volume, and go on changing it. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import type Docker from "dockerode";
import type { LabNode } from "../lab/lab.ts";
import { pollUntil } from "../poll-until.ts";
import { startContainer } from "../workloads.ts";

const textOf = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");

/** Directories of the image too: what is removed there are whiteouts, what is made anew opaque directories. */
export const changedDirectories = ["/hostile", "/usr/share", "/var/lib"] as const;

/** A tree out of a seed, which goes on changing. */
export const startHostile = (node: LabNode, name: string, seed: number): Promise<Docker.Container> =>
  startProgram(node, name, [
    "perl",
    "-e",
    textOf("hostile-tree.pl"),
    String(seed),
    "1500",
    "/data",
    ...changedDirectories,
  ]);

/** Directories and links that change places without end; the links lead to /srv/canary and / of whoever follows them. */
export const startSwapping = (node: LabNode, name: string): Promise<Docker.Container> =>
  startProgram(node, name, ["perl", "-e", textOf("swap-links.pl"), "/data", ...changedDirectories]);

/** Resolves once the program has said that its tree is there. Its volume is at /data. */
async function startProgram(node: LabNode, name: string, command: readonly string[]): Promise<Docker.Container> {
  const container = await startContainer(node, name, command, {
    HostConfig: { Mounts: [{ Type: "volume", Source: `${name}-data`, Target: "/data" }] },
  });
  await pollUntil("the hostile tree", 30_000, async () => {
    const output = (await container.logs({ stdout: true, stderr: true })).toString();
    const { State } = await container.inspect();
    if (!State.Running) throw new Error(`the program ended: ${output}`);
    return output.includes("built") ? true : undefined;
  });
  return container;
}

export const hostileVolume = (name: string): string => `/var/lib/docker/volumes/${name}-data/_data`;

const programs = { "print-layer.ts": "hostile/print-layer.ts", "../tree-print.ts": "tree-print.ts" };
const directory = "/opt/dmigrate/tests/helpers";

/** Of each of a node's directories every path, with all that a migration must keep of it. They must stand still. */
export async function printOnNode(node: LabNode, paths: readonly string[]): Promise<Record<string, string>[]> {
  const install = Object.entries(programs).flatMap(([from, to]) => [textOf(from), `${directory}/${to}`]);
  const script = `mkdir -p ${directory}/hostile; printf %s "$1" >"$2"; printf %s "$3" >"$4"; shift 4; exec node ${directory}/hostile/print-layer.ts "$@"`;
  const { stdout, stderr, exitCode } = await node.exec(["sh", "-ec", script, "sh", ...install, ...paths]);
  if (exitCode !== 0) throw new Error(`printing ${paths.join()} of node ${node.name} failed: ${stderr}`);
  return z.array(z.record(z.string(), z.string())).parse(JSON.parse(stdout));
}
