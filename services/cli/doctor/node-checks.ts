/** What this node must have, looked at on the node itself: the services' own checks, and what lies around them. */
import { statfs } from "node:fs/promises";
import { connect } from "node:net";
import { readAgentConfig } from "../../agent/config.ts";
import { checkNode as checkForDumper } from "../../dumper/check-node.ts";
import { checkCriu } from "../../pager/adapters/criu.ts";
import { createEngine } from "../../restorer/adapters/engine.ts";
import { checkNode as checkForRestorer } from "../../restorer/checks.ts";
import { openDocker } from "../../shared/adapters/docker.ts";
import type { ListenAddress } from "../../shared/config.ts";
import type { Check } from "../../shared/contracts/common.ts";
import { messageOf } from "../../shared/errors.ts";
import { checkShipper } from "../../shipper/checks.ts";
import { mergeChecks } from "./merge-checks.ts";

/** All checks of the node that this process runs on. */
export async function checkThisNode(env: NodeJS.ProcessEnv): Promise<Check[]> {
  const defaults = readAgentConfig([], {});
  const { settings, problem } = readSettings(env, defaults);
  const docker = openDocker(settings.dockerSocket);
  const checks = await Promise.all([
    Promise.resolve([problem]),
    checkForDumper(docker),
    checkForRestorer(createEngine(docker), settings.stateDir),
    checkCriu("criu"),
    checkShipper(docker),
    checkRoom(settings.stateDir).then((check) => [check]),
    checkAgent(settings.listen).then((check) => [check]),
    checkPort("data port", settings.dataListen).then((check) => [check]),
  ]);
  return mergeChecks(checks.flat());
}

type Settings = ReturnType<typeof readAgentConfig>;

function readSettings(env: NodeJS.ProcessEnv, defaults: Settings): { settings: Settings; problem: Check } {
  const name = "settings";
  try {
    return { settings: readAgentConfig([], env), problem: { name, ok: true, detail: "as the agent would read them" } };
  } catch (error) {
    const fix = "set the variables that it names";
    return { settings: defaults, problem: { name, ok: false, detail: messageOf(error), fix } };
  }
}

const leastRoomBytes = 64 << 20;

async function checkRoom(stateDir: string): Promise<Check> {
  const name = "state room";
  const fix = `make room for CRIU images in ${stateDir}: 64 MiB at least`;
  try {
    const { bavail, bsize } = await statfs(stateDir);
    const free = bavail * bsize;
    const ok = free >= leastRoomBytes;
    return { name, ok, detail: `${(free / (1 << 20)).toFixed(0)} MiB free in ${stateDir}`, ...(!ok && { fix }) };
  } catch (error) {
    return { name, ok: false, detail: messageOf(error), fix };
  }
}

async function checkAgent({ host, port }: ListenAddress): Promise<Check> {
  const name = "agent";
  const fix = "start it with: dmigrate agent";
  const url = `http://${reachable(host)}:${port}/healthz`;
  try {
    const answer = (await (await fetch(url, { signal: AbortSignal.timeout(2_000) })).json()) as { services?: unknown };
    const services = Array.isArray(answer.services) ? answer.services.join(", ") : "";
    const ok = services.includes("dumper");
    const detail = ok ? `${url} answers: ${services}` : `something else answers at ${url}`;
    return { name, ok, detail, ...(!ok && { fix: "choose another port with DMIGRATE_LISTEN" }) };
  } catch (error) {
    return { name, ok: false, detail: `${url} does not answer: ${messageOf(error)}`, fix };
  }
}

function checkPort(name: string, { host, port }: ListenAddress): Promise<Check> {
  const where = `${host}:${port}`;
  const fix = "start the agent; other nodes must reach this port (DMIGRATE_DATA_LISTEN), also through the firewall";
  return new Promise((resolve) => {
    const socket = connect({ host: unbracketed(host), port, timeout: 2_000 });
    const done = (ok: boolean, detail: string): void => {
      socket.destroy();
      resolve({ name, ok, detail, ...(!ok && { fix }) });
    };
    socket.once("connect", () => done(true, `${where} listens`));
    socket.once("timeout", () => done(false, `${where} does not answer`));
    socket.once("error", (error) => done(false, `${where}: ${messageOf(error)}`));
  });
}

const unbracketed = (host: string): string => (host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host);

/** A host to call: an address that means all of them is called by its loopback one. */
const reachable = (host: string): string => {
  const called = unbracketed(host);
  return called.includes(":") ? `[${called}]` : called;
};
