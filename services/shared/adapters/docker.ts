/** The node's Docker Engine, and its errors in our terms. */
import Docker from "dockerode";
import { DmigrateError, messageOf } from "../errors.ts";

/** A client of the engine behind this socket. It connects with each call, so the engine may start later. */
export function openDocker(socketPath: string): Docker {
  return new Docker({ socketPath });
}

/** What Docker says of itself, as far as we read it. */
export interface DockerInfo {
  ServerVersion: string;
  Driver: string;
  /** Pairs of name and value. */
  DriverStatus?: string[][] | null;
  DockerRootDir: string;
  CgroupVersion?: string;
  Runtimes?: Record<string, { path?: string }>;
  SecurityOptions?: string[] | null;
}

/** A plan and the migration that follows it ask several times within a moment; to answer takes Docker some 10 ms each time. */
const infoMs = 500;
const infos = new WeakMap<Docker, { answer: Promise<DockerInfo>; askedAt: number }>();

/** `docker info`, asked anew when the last answer is older than half a second. Rejects as dockerode does. */
export function dockerInfo(docker: Docker): Promise<DockerInfo> {
  const last = infos.get(docker);
  if (last !== undefined && performance.now() - last.askedAt < infoMs) return last.answer;
  const answer = docker.info() as Promise<DockerInfo>;
  infos.set(docker, { answer, askedAt: performance.now() });
  answer.catch(() => infos.delete(docker));
  return answer;
}

/** The HTTP status Docker answered with, or undefined when it did not answer. */
export function dockerStatus(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("statusCode" in error)) return undefined;
  return typeof error.statusCode === "number" ? error.statusCode : undefined;
}

/** Translates a failure of a Docker call. `what` names the thing: "container redis". */
export function dockerError(error: unknown, what: string): DmigrateError {
  if (error instanceof DmigrateError) return error;
  const status = dockerStatus(error);
  const text = `${what}: ${messageOf(error)}`;
  if (status === 404) return new DmigrateError("not-found", text, { cause: error });
  if (status === 409) return new DmigrateError("conflict", text, { cause: error });
  if (status === 400) return new DmigrateError("invalid-request", text, { cause: error });
  if (status === undefined)
    return new DmigrateError("unavailable", `${text}; is Docker running on this node?`, { cause: error });
  return new DmigrateError("upstream", text, { cause: error });
}
