/** Starts the container of one node, with testcontainers. */
import { randomBytes } from "node:crypto";

import { GenericContainer, type StartedTestContainer } from "testcontainers";

import type { LabContext } from "./context.ts";
import { dockerAt } from "./docker-client.ts";
import { connectNode, type LabNode } from "./node.ts";
import { labelsFor } from "./ownership.ts";

/** A node that this process started. */
export interface StartedLabNode extends LabNode, AsyncDisposable {
  readonly container: StartedTestContainer;
}

export interface NodeOptions {
  readonly name: "a" | "b";
  /** Leads the container's name; the run's id follows. */
  readonly prefix: string;
  readonly runId: string;
  readonly image: string;
  readonly dockerHost: string;
  /** Variables for the agent, on top of those that the lab sets. */
  readonly env: Readonly<Record<string, string>>;
  /** Further directories that are to be tmpfs, with their mount options. */
  readonly tmpFs: Readonly<Record<string, string>>;
}

const agentPort = 7400;
const dataPort = 7401;
const dockerPort = 2375;

/** Starts a node and returns as soon as its container runs; its engine and agent still take a moment. */
export async function startNode(context: LabContext, options: NodeOptions): Promise<StartedLabNode> {
  const { name, runId, dockerHost } = options;
  const token = randomBytes(24).toString("base64url");
  const container = await createNode(options, token).start().catch(explainRefusal);
  context.signal?.throwIfAborted();
  const outer = dockerAt(dockerHost);
  const { NetworkSettings } = await outer.getContainer(container.getId()).inspect();
  const ip = Object.values(NetworkSettings.Networks)[0]?.IPAddress;
  if (!ip) throw new Error(`node ${name} (run ${runId}) has no address on the engine's bridge network`);
  const facts = {
    name,
    containerId: container.getId(),
    ip,
    dockerHost: `tcp://${ip}:${String(dockerPort)}`,
    agentUrl: `http://${ip}:${String(agentPort)}`,
    token,
  };
  return {
    ...connectNode(facts, outer),
    container,
    [Symbol.asyncDispose]: async () => {
      await container.stop({ timeout: 0, remove: true, removeVolumes: true });
    },
  };
}

function createNode(
  { name, prefix, runId, image, dockerHost, env, tmpFs }: NodeOptions,
  token: string,
): GenericContainer {
  // testcontainers takes these from the environment only. Its reaper is an image of its own, which may not be in reach, and the
  // lab removes what it starts by itself (ownership.ts).
  process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  process.env["DOCKER_HOST"] = dockerHost;
  return new GenericContainer(image)
    .withName(`${prefix}-${name}-${runId}`)
    .withHostname(name)
    .withLabels(labelsFor(runId))
    .withPrivilegedMode()
    .withTmpFs({ "/run": "rw,exec", ...tmpFs })
    .withEnvironment({
      ...env,
      DMIGRATE_DOCKER_TCP: "1",
      DMIGRATE_LISTEN: `0.0.0.0:${String(agentPort)}`,
      DMIGRATE_DATA_LISTEN: `0.0.0.0:${String(dataPort)}`,
      DMIGRATE_TOKEN: token,
    });
}

/** Says in words what an engine means that cannot start a privileged container. */
function explainRefusal(cause: unknown): never {
  const message = cause instanceof Error ? cause.message : String(cause);
  if (!/unable to apply caps|capset|operation not permitted/i.test(message)) throw cause;
  throw new Error(
    `the Docker engine cannot start a privileged container, perhaps because CAP_SYS_RESOURCE is missing on its machine (${message}). ` +
      "Stop that engine or unset DOCKER_HOST, and the lab starts one of its own that copes",
    { cause },
  );
}
