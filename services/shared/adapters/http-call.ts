/** One HTTP request and its answer over kept-alive connections: nothing is followed, tried again or unpacked. */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { urlToHttpOptions } from "node:url";
import { DmigrateError } from "../errors.ts";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface HttpCall {
  method: Method;
  /** Below the caller's URL; begins with a slash. */
  path: string;
  headers: Readonly<Record<string, string>>;
  /** JSON, if any. */
  body: string | undefined;
  /** How long all of it may take, and how long the connection. */
  timeoutMs: number;
  connectMs: number;
  signal: AbortSignal | undefined;
}

export interface HttpAnswer {
  status: number;
  body: string;
}

/** An answer that says that the call failed. */
export class HttpFailure extends Error {
  readonly status: number;
  readonly body: string;

  constructor({ status, body }: HttpAnswer) {
    super(`status ${status}`);
    this.status = status;
    this.body = body;
  }
}

export interface Caller {
  /**
   * Resolves with the answer, whatever its status. Rejects with `timeout`, with the reason of `signal` when that aborts, or with
   * what the connection failed by.
   */
  call(call: HttpCall): Promise<HttpAnswer>;
  /** Closes idle connections. */
  close(): void;
}

/** More than any answer of ours: a list of a thousand migrations is a tenth of it. */
const maxAnswerBytes = 64 << 20;

/** `headers` go along with each call. */
export function createCaller(
  url: string,
  { idleMs, headers }: { idleMs: number; headers: Readonly<Record<string, string>> },
): Caller {
  const target = new URL(url);
  const isSecure = target.protocol === "https:";
  const reuse = { keepAlive: true, timeout: idleMs };
  const agent = isSecure ? new HttpsAgent(reuse) : new HttpAgent(reuse);
  const request = isSecure ? httpsRequest : httpRequest;
  const base = { ...urlToHttpOptions(target), agent };
  const prefix = target.pathname.replace(/\/$/, "");
  return {
    call: ({ method, path, body, signal, ...call }) => {
      const content =
        body === undefined
          ? {}
          : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) };
      const outgoing = request({
        ...base,
        method,
        path: prefix + path,
        headers: { ...headers, ...call.headers, ...content },
        ...(signal !== undefined && { signal }),
      });
      return answerOf(outgoing, { body, signal, ...call });
    },
    close: () => agent.destroy(),
  };
}

async function answerOf(
  outgoing: ClientRequest,
  { body, signal, timeoutMs, connectMs }: Pick<HttpCall, "body" | "signal" | "timeoutMs" | "connectMs">,
): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const state: { late?: DmigrateError } = {};
  const late = (ms: number): NodeJS.Timeout =>
    setTimeout(() => {
      state.late = new DmigrateError("timeout", `no answer within ${ms} ms`);
      outgoing.destroy(state.late);
    }, ms);
  const whole = late(timeoutMs);
  const connection = late(connectMs);
  outgoing.once("socket", (socket) => {
    if (socket.connecting) socket.once("connect", () => clearTimeout(connection));
    else clearTimeout(connection);
  });
  outgoing.on("error", reject);
  outgoing.once("response", (incoming) => void readBody(incoming).then(resolve, reject));
  outgoing.end(body);
  try {
    return await promise;
  } catch (error) {
    // Of an answer that was cut off in its midst Node says no more than that.
    signal?.throwIfAborted();
    throw state.late ?? error;
  } finally {
    clearTimeout(whole);
    clearTimeout(connection);
  }
}

/** What breaks the connection off is an error of the answer as well. */
async function readBody(incoming: IncomingMessage): Promise<HttpAnswer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxAnswerBytes) throw new Error(`an answer of more than ${maxAnswerBytes} bytes`);
    parts.push(part);
  }
  return { status: incoming.statusCode ?? 0, body: Buffer.concat(parts).toString("utf8") };
}
