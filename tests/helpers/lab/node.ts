/**
 * A node of the lab: a privileged container of the node image, with its own Docker engine and agent. What stands here needs only
 * the node's facts, so a test in another process has the same hold on a node as the process that started it.
 */
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

import type Docker from "dockerode";

import { dockerAt } from "./docker-client.ts";

/** What there is to know about a node, as plain data. */
export interface NodeFacts {
  readonly name: "a" | "b";
  readonly containerId: string;
  readonly ip: string;
  /** The node's own engine, in the form of DOCKER_HOST. */
  readonly dockerHost: string;
  readonly agentUrl: string;
  readonly token: string;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** A node that runs. */
export interface LabNode extends NodeFacts {
  /** The node's own engine. */
  readonly docker: Docker;
  /** The engine that the node is a container of. */
  readonly outer: Docker;
  /** Runs a command in the node (not in one of its containers). A failing command is a result, not an error. */
  exec(command: readonly string[]): Promise<ExecResult>;
  /** What the agent and the node's entrypoint wrote so far. */
  logs(): Promise<string>;
  /** Waits until the agent says that it is ready. */
  waitUntilReady(options?: { timeoutMs?: number; signal?: AbortSignal | undefined }): Promise<void>;
  /** Kills the agent, as a crash would. The entrypoint starts it again; `waitUntilReady` tells when. */
  killAgent(): Promise<void>;
}

const readyTimeoutMs = 60_000;
const pollMs = 50;

/** Takes hold of a running node. */
export function connectNode(facts: NodeFacts, outer: Docker): LabNode {
  const container = outer.getContainer(facts.containerId);
  const exec = (command: readonly string[]): Promise<ExecResult> => execIn(container, command);
  return {
    ...facts,
    docker: dockerAt(facts.dockerHost),
    outer,
    exec,
    logs: () => readLogs(container),
    waitUntilReady: ({ timeoutMs = readyTimeoutMs, signal } = {}) =>
      waitUntilReady(facts, container, timeoutMs, signal),
    killAgent: async () => {
      const agent = "^node /opt/dmigrate/services/(cli/main.ts agent|agent/main.ts)";
      const { exitCode, stderr } = await exec(["pkill", "-KILL", "-f", agent]);
      if (exitCode !== 0) throw new Error(`no agent to kill on node ${facts.name} ${stderr}`);
    },
  };
}

async function waitUntilReady(
  facts: NodeFacts,
  container: Docker.Container,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let last = "no answer yet";
  for (let attempt = 1; performance.now() < deadline; attempt++) {
    signal?.throwIfAborted();
    try {
      const answer = await fetch(`${facts.agentUrl}/readyz`, { signal: AbortSignal.timeout(2_000) });
      if (answer.ok) return;
      last = `${String(answer.status)} ${await answer.text()}`;
    } catch (error) {
      last = messageOf(error);
    }
    // Now and then make sure that there is still something to wait for.
    if (attempt % 20 === 0 && !(await container.inspect()).State.Running) break;
    await sleep(pollMs, undefined, signal && { signal });
  }
  const log = (await readLogs(container)).split("\n").slice(-30).join("\n");
  throw new Error(
    `the agent of node ${facts.name} at ${facts.agentUrl} is not ready: ${last}\nThe node's log ends with:\n${log}`,
  );
}

async function execIn(container: Docker.Container, command: readonly string[]): Promise<ExecResult> {
  const exec = await container.exec({ Cmd: [...command], AttachStdout: true, AttachStderr: true });
  const frames = readFrames(await buffer(await exec.start({})));
  const textOf = (wanted: number): string =>
    Buffer.concat(frames.filter(({ stream }) => stream === wanted).map(({ data }) => data)).toString();
  return { stdout: textOf(1), stderr: textOf(2), exitCode: (await exec.inspect()).ExitCode ?? -1 };
}

async function readLogs(container: Docker.Container): Promise<string> {
  const raw = await container.logs({ stdout: true, stderr: true, follow: false });
  return Buffer.concat(readFrames(raw).map(({ data }) => data)).toString();
}

/** Takes apart Docker's multiplexed output: frames with an 8-byte header, the stream in its first byte, the length in its last four. */
function readFrames(raw: Buffer): { stream: number; data: Buffer }[] {
  const frames = [];
  for (let offset = 0; offset + 8 <= raw.length;) {
    const end = offset + 8 + raw.readUInt32BE(offset + 4);
    frames.push({ stream: raw.readUInt8(offset), data: raw.subarray(offset + 8, end) });
    offset = end;
  }
  return frames;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
