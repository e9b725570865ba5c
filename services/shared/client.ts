/**
 * Calls to another of our services: bearer token, trace context, answers validated by the contract's schema,
 * problems turned back into the error they were.
 */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { SpanKind } from "@opentelemetry/api";
import type { z } from "zod";
import { problemSchema } from "./contracts/common.ts";
import { DmigrateError, messageOf, statusOf, type ErrorCode } from "./errors.ts";
import { exchange, RefusedExchange, type Answer, type Exchange } from "./exchange.ts";
import { idleClientMs } from "./keep-alive.ts";
import { traceHeaders, withSpan } from "./telemetry.ts";

export interface CallOptions {
  signal?: AbortSignal;
  /** How long the whole call may take; 30 s unless told. */
  timeoutMs?: number;
}

export interface ServiceClient {
  readonly url: string;
  get<T>(path: string, answer: z.ZodType<T>, options?: CallOptions): Promise<T>;
  post<T>(path: string, body: unknown, answer: z.ZodType<T>, options?: CallOptions): Promise<T>;
  put<T>(path: string, body: unknown, answer: z.ZodType<T>, options?: CallOptions): Promise<T>;
  delete<T>(path: string, answer: z.ZodType<T>, options?: CallOptions): Promise<T>;
  /** Closes idle connections. */
  close(): void;
}

type Method = "GET" | "POST" | "PUT" | "DELETE";

/** A client of the service at `url`; `name` is what errors call it ("the dumper of node a"). */
export function createClient(
  name: string,
  url: string,
  token: string | undefined,
  idleMs = idleClientMs,
): ServiceClient {
  // Kept alive: a new connection inside the downtime would cost a round trip. The agent ends only idle connections by it.
  const reuse = { keepAlive: true, timeout: idleMs };
  const agents = { http: new HttpAgent(reuse), https: new HttpsAgent(reuse) };
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const target: Target = { name, url, base: `${url.replace(/\/+$/, "")}/`, agents, authorization };
  const { host } = new URL(url);
  const call = <T>(
    method: Method,
    path: string,
    body: unknown,
    answer: z.ZodType<T>,
    options: CallOptions = {},
  ): Promise<T> =>
    withSpan(
      `${method} ${path.replaceAll(/m-[0-9a-f]{16}/g, ":id")}`,
      { kind: SpanKind.CLIENT, attributes: { "http.request.method": method, "server.address": host } },
      (span) =>
        send(target, method, path, body, answer, options, (status) =>
          span.setAttribute("http.response.status_code", status),
        ),
    );
  return {
    url,
    get: (path, answer, options) => call("GET", path, undefined, answer, options),
    post: (path, body, answer, options) => call("POST", path, body, answer, options),
    put: (path, body, answer, options) => call("PUT", path, body, answer, options),
    delete: (path, answer, options) => call("DELETE", path, undefined, answer, options),
    close: () => {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

interface Target {
  name: string;
  url: string;
  /** The same with a slash at its end. */
  base: string;
  agents: Exchange["agents"];
  authorization: Readonly<Record<string, string>>;
}

async function send<T>(
  target: Target,
  method: Method,
  path: string,
  body: unknown,
  answer: z.ZodType<T>,
  options: CallOptions,
  onStatus: (status: number) => void,
): Promise<T> {
  const { signal, timeoutMs = 30_000 } = options;
  const { agents, authorization, base } = target;
  const what = `${method} ${path}`;
  const late = AbortSignal.timeout(Math.ceil(timeoutMs));
  let status: number, text: string;
  try {
    ({ status, text } = await exchange({
      method,
      url: new URL(path.replace(/^\//, ""), base),
      headers: { ...authorization, ...traceHeaders() },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: signal === undefined ? late : AbortSignal.any([signal, late]),
      agents,
    }));
  } catch (cause) {
    throw unanswered(cause, target, what, signal, late);
  }
  onStatus(status);
  if (status < 200 || status > 299) throw refusal({ status, text }, target, what);
  const parsed = answer.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new DmigrateError(
    "upstream",
    `${target.name} (${target.url}) answered ${what} with something else than its contract; are both of one version?`,
    { cause: parsed.error },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The problem that the service has answered with, as the error it was there. */
function refusal({ status, text }: Answer, { name, url }: Target, what: string): DmigrateError {
  const cause = new RefusedExchange(status);
  const problem = problemSchema.safeParse(parseJson(text));
  if (!problem.success)
    return new DmigrateError("upstream", `${name} (${url}) answered ${what} with status ${status}`, { cause });
  const { code, detail, errors = [], reasons = [] } = problem.data;
  const known: ErrorCode = code in statusOf ? (code as ErrorCode) : "upstream";
  // A token that we hold for a node is our configuration, not our caller's credentials.
  if (known === "unauthorized")
    return new DmigrateError(
      "upstream",
      `${name} (${url}) refused its token; register the node again with the right one`,
      { cause },
    );
  return new DmigrateError(known, `${name}: ${detail}`, { cause, fields: errors, reasons });
}

function unanswered(
  cause: unknown,
  { name, url }: Target,
  what: string,
  signal: AbortSignal | undefined,
  late: AbortSignal,
): DmigrateError {
  if (signal?.aborted === true) return new DmigrateError("cancelled", `${what} was cancelled`, { cause });
  if (late.aborted) return new DmigrateError("timeout", `${name} (${url}) did not answer ${what} in time`, { cause });
  return new DmigrateError("unavailable", `${name} (${url}) cannot be reached: ${messageOf(cause)}`, { cause });
}
