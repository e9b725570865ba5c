/**
 * Calls to another of our services: bearer token, trace context, answers validated by the contract's schema,
 * problems turned back into the error they were.
 */
import { SpanKind } from "@opentelemetry/api";
import type { z } from "zod";
import { createCaller, HttpFailure, type Caller, type Method } from "./adapters/http-call.ts";
import { problemSchema } from "./contracts/common.ts";
import { DmigrateError, messageOf, statusOf, type ErrorCode } from "./errors.ts";
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

/** A client of the service at `url`; `name` is what errors call it ("the dumper of node a"). */
export function createClient(
  name: string,
  url: string,
  token: string | undefined,
  idleMs = idleClientMs,
): ServiceClient {
  // Kept alive: a new connection inside the downtime would cost a round trip. It ends only idle connections by itself.
  const http = createCaller(url, { idleMs, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  const call = <T>(
    method: Method,
    path: string,
    body: unknown,
    answer: z.ZodType<T>,
    options: CallOptions = {},
  ): Promise<T> =>
    withSpan(
      `${method} ${path.replaceAll(/m-[0-9a-f]{16}/g, ":id")}`,
      { kind: SpanKind.CLIENT, attributes: { "http.request.method": method, "server.address": new URL(url).host } },
      (span) =>
        send({ http, name, url }, method, path, body, answer, options, (status) =>
          span.setAttribute("http.response.status_code", status),
        ),
    );
  return {
    url,
    get: (path, answer, options) => call("GET", path, undefined, answer, options),
    post: (path, body, answer, options) => call("POST", path, body, answer, options),
    put: (path, body, answer, options) => call("PUT", path, body, answer, options),
    delete: (path, answer, options) => call("DELETE", path, undefined, answer, options),
    close: () => http.close(),
  };
}

interface Target {
  http: Caller;
  name: string;
  url: string;
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
  let text: string;
  try {
    const response = await target.http.call({
      method,
      path,
      headers: traceHeaders(),
      body: body === undefined ? undefined : JSON.stringify(body),
      timeoutMs,
      connectMs: Math.min(timeoutMs, 5_000),
      signal,
    });
    onStatus(response.status);
    if (response.status < 200 || response.status > 299) throw new HttpFailure(response);
    text = response.body;
  } catch (error) {
    if (signal?.aborted === true && !(error instanceof HttpFailure))
      throw new DmigrateError("cancelled", `${method} ${path} was cancelled`, { cause: error });
    throw translate(error, target, `${method} ${path}`);
  }
  const parsed = answer.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new DmigrateError(
    "upstream",
    `${target.name} (${target.url}) answered ${method} ${path} with something else than its contract; are both of one version?`,
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

function translate(error: unknown, { name, url }: Target, what: string): DmigrateError {
  if (error instanceof HttpFailure) {
    const problem = problemSchema.safeParse(parseJson(error.body));
    if (problem.success) {
      const { code, detail, errors = [], reasons = [] } = problem.data;
      const known: ErrorCode = code in statusOf ? (code as ErrorCode) : "upstream";
      // A token that we hold for a node is our configuration, not our caller's credentials.
      if (known === "unauthorized")
        return new DmigrateError(
          "upstream",
          `${name} (${url}) refused its token; register the node again with the right one`,
          { cause: error },
        );
      return new DmigrateError(known, `${name}: ${detail}`, { cause: error, fields: errors, reasons });
    }
    return new DmigrateError("upstream", `${name} (${url}) answered ${what} with status ${error.status}`, {
      cause: error,
    });
  }
  if (error instanceof DmigrateError && error.code === "timeout")
    return new DmigrateError("timeout", `${name} (${url}) did not answer ${what} in time`, { cause: error });
  return new DmigrateError("unavailable", `${name} (${url}) cannot be reached: ${messageOf(error)}`, { cause: error });
}
