/** Docker clients for an address in the form of DOCKER_HOST. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import Docker from "dockerode";

export interface ClientOptions {
  /** How long one request may take; none by default, since a build or a load takes long. */
  readonly timeoutMs?: number;
}

/** A client for the engine at `unix://PATH`, `tcp://HOST:PORT` (with DOCKER_CERT_PATH and DOCKER_TLS_VERIFY) or `ssh://…`. */
export function dockerAt(dockerHost: string, { timeoutMs }: ClientOptions = {}): Docker {
  const timeout = timeoutMs === undefined ? {} : { timeout: timeoutMs };
  const url = new URL(dockerHost);
  const agent = process.env["SSH_AUTH_SOCK"];
  switch (url.protocol) {
    case "unix:":
      return new Docker({ socketPath: url.pathname, ...timeout });
    case "tcp:":
    case "http:":
    case "https:":
      return new Docker({ host: url.hostname, port: Number(url.port || 2375), ...tls(url), ...timeout });
    case "ssh:":
      return new Docker({
        protocol: "ssh",
        host: url.hostname,
        port: Number(url.port || 22),
        username: url.username,
        ...(agent !== undefined && { sshOptions: { agent } }),
        ...timeout,
      });
    default:
      throw new Error(`cannot talk to a Docker engine at ${dockerHost}: use unix://, tcp:// or ssh://`);
  }
}

function tls(url: URL): Docker.DockerOptions {
  const directory = process.env["DOCKER_CERT_PATH"];
  if (url.protocol !== "https:" && !process.env["DOCKER_TLS_VERIFY"]) return { protocol: "http" };
  if (directory === undefined) return { protocol: "https" };
  const read = (name: string): string => readFileSync(join(directory, name), "utf8");
  return { protocol: "https", ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
}
