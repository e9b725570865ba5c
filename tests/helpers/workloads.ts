/** Containers that tests and the demo migrate. */
import type Docker from "dockerode";
import type { LabNode } from "./lab/lab.ts";
import { workloadImage } from "./lab/workload.ts";
import { connectRedis } from "./redis-data.ts";

/** Starts a container from the workload image on a node, and returns it running. */
export async function startContainer(
  node: LabNode,
  name: string,
  command: readonly string[],
  options: Partial<Docker.ContainerCreateOptions> = {},
): Promise<Docker.Container> {
  const container = await node.docker.createContainer({ name, Image: workloadImage, Cmd: [...command], ...options });
  await container.start();
  return container;
}

/** A command that watches a directory by inotify, for good. */
export function watching(directory: string): string[] {
  const [init, add] = process.arch === "arm64" ? [26, 27] : [294, 254];
  const program = `my $fd = syscall(${init}, 0); my $dir = "${directory}"; syscall(${add}, $fd, $dir, 0x100) > 0 or die; sleep 9 while 1`;
  return ["perl", "-e", program];
}

/** Starts a Redis without persistence, published on the node's own port, and waits until it answers. */
export async function startRedis(
  node: LabNode,
  name: string,
  port: number,
  hostConfig: Docker.HostConfig = {},
): Promise<Docker.Container> {
  const container = await startContainer(
    node,
    name,
    ["redis-server", "--save", "", "--bind", "0.0.0.0", "--protected-mode", "no"],
    {
      HostConfig: { ...hostConfig, PortBindings: { "6379/tcp": [{ HostPort: String(port) }] } },
      ExposedPorts: { "6379/tcp": {} },
    },
  );
  for (let attempt = 0; ; attempt += 1) {
    try {
      await using redis = await connectRedis(node.ip, port);
      await redis.client.ping();
      return container;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
