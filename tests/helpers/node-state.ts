/** What a node looks like from outside, to prove that a migration that failed left nothing behind. */
import type Docker from "dockerode";
import type { LabNode } from "./lab/lab.ts";

export interface NodeState {
  containers: string[];
  volumes: string[];
  stateFiles: string[];
  criuProcesses: string[];
  frozenCgroups: string[];
}

async function linesOf(node: LabNode, script: string): Promise<string[]> {
  const { stdout } = await node.exec(["sh", "-c", script]);
  return stdout.split("\n").filter(Boolean).sort();
}

/** Containers, volumes, files of migrations, CRIU processes and frozen cgroups on the node now. */
export async function readNodeState(node: LabNode): Promise<NodeState> {
  const [containers, volumes, stateFiles, criuProcesses, frozenCgroups] = await Promise.all([
    node.docker.listContainers({ all: true }),
    node.docker.listVolumes(),
    linesOf(node, "find /run/dmigrate/migrations /run/dmigrate/containers -mindepth 1 -maxdepth 1 2>/dev/null"),
    linesOf(node, "ps -eo args | grep -E '^([^ ]*/)?(criu|runc) ' | grep -E 'criu|checkpoint|restore' || true"),
    linesOf(
      node,
      "grep -ls FROZEN $(find /sys/fs/cgroup -name freezer.state 2>/dev/null) /dev/null; grep -lsx 1 $(find /sys/fs/cgroup -name cgroup.freeze 2>/dev/null) /dev/null; true",
    ),
  ]);
  return {
    containers: containers.map(({ Id, State }) => `${Id} ${State}`).sort(),
    volumes: volumes.Volumes.map(({ Name }) => Name).sort(),
    stateFiles,
    criuProcesses,
    frozenCgroups,
  };
}

/** Output of a command in a container; throws when it fails. */
export async function execIn(container: Docker.Container, command: readonly string[]): Promise<string> {
  const exec = await container.exec({ Cmd: [...command], AttachStdout: true, AttachStderr: true, Tty: true });
  const stream = await exec.start({ Tty: true });
  let output = "";
  for await (const chunk of stream) output += String(chunk);
  const { ExitCode } = await exec.inspect();
  if (ExitCode !== 0) throw new Error(`${command.join(" ")} ended with ${ExitCode ?? "no code"}: ${output}`);
  return output.replaceAll("\r\n", "\n");
}

/** Removes every container and unused volume of the test from both nodes. */
export async function removeContainers(nodes: readonly LabNode[]): Promise<void> {
  for (const { docker } of nodes) {
    for (const { Id } of await docker.listContainers({ all: true })) {
      await docker.getContainer(Id).remove({ force: true, v: true });
    }
    for (const { Name } of (await docker.listVolumes()).Volumes) await docker.getVolume(Name).remove();
  }
}
