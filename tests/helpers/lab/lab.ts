/**
 * The lab: two nodes a and b, and a planner that knows both. Everything it needs is brought up on the way, and everything it
 * started is gone after `stop()`, also when starting failed half-way.
 *
 *   engine ──> images ──> nodes a and b (containers) ──> agents ready, workload on a ──> planner ──> nodes registered
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import type Docker from "dockerode";

import { all, step, type LabContext, type Log, logToStderr } from "./context.ts";
import { dockerAt } from "./docker-client.ts";
import { ensureEngine, type Engine } from "./engine.ts";
import { ensureImages } from "./images.ts";
import { loadImage } from "./load-image.ts";
import type { NodeFacts } from "./node.ts";
import { makeDirectory, removeRun, removeStale } from "./ownership.ts";
import { restartPlanner, startPlanner, type PlannerFacts } from "./planner-process.ts";
import { allowRealTime } from "./real-time.ts";
import { startNode, type StartedLabNode } from "./start-node.ts";
import { agentEnvironment, plannerEnvironment } from "./telemetry-env.ts";
import { workloadImage } from "./workload.ts";

export type { LabNode, ExecResult } from "./node.ts";
export type { StartedLabNode } from "./start-node.ts";

export interface LabOptions {
  readonly log?: Log;
  /** Ends the start early. A lab that has started is ended by `stop()`. */
  readonly signal?: AbortSignal | undefined;
  /** Leads the names of the nodes' containers. */
  readonly prefix?: string;
  /** Further variables for the planner and both agents. */
  readonly env?: Readonly<Record<string, string>>;
  /** Builds another image upon the node's, and returns its name: the nodes run that one. */
  readonly extendNode?: (context: LabContext, outer: Docker, nodeImage: string) => Promise<string>;
  /** Directories of the nodes that are to be tmpfs, with their mount options. */
  readonly tmpFs?: Readonly<Record<string, string>>;
}

/** What there is to know about a lab, as plain data: enough to take hold of it from another process. */
export interface LabFacts {
  readonly dockerHost: string;
  /** The workload image's name in the outer engine. */
  readonly workload: string;
  readonly nodes: { readonly a: NodeFacts; readonly b: NodeFacts };
  readonly planner: PlannerFacts;
}

/** A lab that this process started. */
export interface Lab extends AsyncDisposable {
  readonly nodes: { readonly a: StartedLabNode; readonly b: StartedLabNode };
  readonly planner: PlannerFacts;
  readonly engine: Engine;
  readonly facts: LabFacts;
  /** Kills the planner and waits until it is up again, with the same address and state. */
  restartPlanner(): Promise<void>;
  /** Removes everything that was started. Calling it again does nothing. */
  stop(): Promise<void>;
}

const dockerTimeoutMs = 60_000;

/** Brings up a lab. */
export async function startLab({
  log = logToStderr,
  signal,
  prefix = "dmigrate-lab",
  env = {},
  extendNode,
  tmpFs = {},
}: LabOptions = {}): Promise<Lab> {
  const context: LabContext = { log, signal };
  await using cleanup = new AsyncDisposableStack();

  const engine = await ensureEngine(context);
  cleanup.defer(() => engine.stop());
  const outer = dockerAt(engine.dockerHost);
  const stale = await removeStale(outer);
  if (stale > 0) log(`removed ${String(stale)} containers of a run that was killed`);
  const images = await ensureImages(context, outer, engine.dockerHost);
  const image = extendNode === undefined ? images.node : await extendNode(context, outer, images.node);

  const runId = randomBytes(4).toString("hex");
  // Given back once the nodes are gone.
  const budgets = cleanup.use(new DisposableStack());
  cleanup.defer(() => removeRun(outer, runId));
  const start = async (name: "a" | "b"): Promise<StartedLabNode> => {
    const agentEnv = await agentEnvironment(outer, env);
    const options = { name, prefix, runId, image, dockerHost: engine.dockerHost, env: agentEnv, tmpFs };
    const node = await startNode(context, options);
    const { State } = await outer.getContainer(node.containerId).inspect();
    budgets.defer(allowRealTime(State.Pid));
    return node;
  };
  const [a, b] = await step(context, "started two nodes", () => all([start("a"), start("b")]));

  const directory = makeDirectory();
  cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
  const startingPlanner = startPlanner(context, directory, plannerEnvironment(env)).then((planner) => {
    cleanup.defer(() => planner.stop());
    return planner;
  });
  const [planner] = await all([
    step(context, "planner ready", () => startingPlanner),
    step(context, "nodes ready, workload loaded on a", async () => {
      await all([waitForDocker(a.docker, signal), waitForDocker(b.docker, signal)]);
      await all([
        loadImage(a, images.workload, workloadImage, context),
        a.waitUntilReady({ signal }),
        b.waitUntilReady({ signal }),
      ]);
    }),
  ]);
  await all([registerNode(planner, a), registerNode(planner, b)]);

  const rest = cleanup.move();
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= step({ log }, "stopped the lab", () => rest.disposeAsync()));
  return {
    nodes: { a, b },
    planner,
    engine,
    facts: {
      dockerHost: engine.dockerHost,
      workload: images.workload,
      nodes: { a: factsOf(a), b: factsOf(b) },
      planner: { url: planner.url, token: planner.token, directory: planner.directory },
    },
    restartPlanner: () => restartPlanner(planner),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Tells the planner of a node; of one that it knows, it forgets what it has learnt. */
export async function registerNode(planner: PlannerFacts, { name, agentUrl, token }: NodeFacts): Promise<void> {
  const answer = await fetch(`${planner.url}/nodes/${name}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${planner.token}`, "content-type": "application/json" },
    body: JSON.stringify({ agent: { url: agentUrl, token } }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`the planner refused node ${name}: ${String(answer.status)} ${await answer.text()}`);
}

async function waitForDocker(docker: Docker, signal: AbortSignal | undefined): Promise<void> {
  const deadline = performance.now() + dockerTimeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await docker.ping();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new Error("a node's Docker engine does not answer", { cause: error });
    }
    await sleep(50, undefined, signal && { signal });
  }
}

function factsOf({ name, containerId, ip, dockerHost, agentUrl, token }: NodeFacts): NodeFacts {
  return { name, containerId, ip, dockerHost, agentUrl, token };
}
