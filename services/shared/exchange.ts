/**
 * One HTTP request and its answer as text, by node's own client. Calls between our services lie inside a migration's
 * downtime, where a client with retries, hooks and redirects costs more than the network does.
 */
import { request as httpRequest, type Agent as HttpAgent, type IncomingMessage } from "node:http";
import { request as httpsRequest, type Agent as HttpsAgent } from "node:https";

export interface Exchange {
  method: string;
  url: URL;
  headers: Readonly<Record<string, string>>;
  /** JSON text. */
  body?: string;
  /** Aborts the request, whatever it is waiting for: the promise rejects. */
  signal: AbortSignal;
  agents: { http: HttpAgent; https: HttpsAgent };
}

export interface Answer {
  status: number;
  text: string;
}

/** An answer that is a refusal: kept as the cause of the error that it becomes. */
export class RefusedExchange extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`answered with status ${status}`);
    this.status = status;
  }
}

/** A host that takes this long to accept a connection is down, however patient the call is. */
const connectTimeoutMs = 5_000;
/** More than any of our services answers. */
const maxAnswerBytes = 64 << 20;

/** Resolves with the whole answer, whatever its status. Rejects when there is none, or it has no end. */
export function exchange({ method, url, headers, body, signal, agents }: Exchange): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = {
      method,
      signal,
      headers: {
        ...headers,
        accept: "application/json",
        ...(body !== undefined && { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
      },
    };
    const receive = (response: IncomingMessage): void => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > maxAnswerBytes) response.destroy(new Error(`an answer of more than ${maxAnswerBytes} bytes`));
      });
      response.once("error", reject);
      response.once("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      // Cut short: `end` never comes. After it this changes nothing.
      response.once("close", () => reject(new Error("the connection was lost in the midst of the answer")));
    };
    const request =
      url.protocol === "https:"
        ? httpsRequest(url, { ...options, agent: agents.https }, receive)
        : httpRequest(url, { ...options, agent: agents.http }, receive);
    request.once("error", reject);
    request.once("socket", (socket) => {
      if (!socket.connecting) return;
      const late = (): void => void request.destroy(new Error(`no connection within ${connectTimeoutMs / 1000} s`));
      const timer = setTimeout(late, connectTimeoutMs);
      for (const event of ["connect", "close"]) socket.once(event, () => clearTimeout(timer));
    });
    // With its body, so that both leave in one packet.
    request.end(body);
  });
}
