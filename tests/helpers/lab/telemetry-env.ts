/**
 * The OTEL_* variables of whoever starts the lab, handed on to its services. A collector on this machine is "localhost" for the
 * planner, which runs here; for the agents, in containers, it is the gateway of their network.
 */
import type Docker from "dockerode";

type Variables = Readonly<Record<string, string>>;

/** Variables for the planner. */
export function plannerEnvironment(extra: Variables): Variables {
  return { ...passedOn(process.env), ...extra };
}

/** Variables for the agents. */
export async function agentEnvironment(outer: Docker, extra: Variables): Promise<Variables> {
  const variables = { ...passedOn(process.env), ...extra };
  const { IPAM } = (await outer.getNetwork("bridge").inspect()) as { IPAM?: { Config?: { Gateway?: string }[] } };
  const gateway = IPAM?.Config?.[0]?.Gateway;
  if (gateway === undefined) return variables;
  return Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [
      name,
      /_ENDPOINT$/.test(name) ? moveFromLoopback(value, gateway) : value,
    ]),
  );
}

function passedOn(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => /^(OTEL_|DMIGRATE_LOG_LEVEL$)/.test(entry[0])),
  );
}

function moveFromLoopback(url: string, host: string): string {
  return url.replace(/^(\w+:\/\/)(localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/, `$1${host}`);
}
