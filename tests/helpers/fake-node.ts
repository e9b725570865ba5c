/**
 * A node agent made of the contracts: an HTTP server without Docker, CRIU or a network between the nodes. Requests and
 * answers are checked against the contracts' schemas, calls at the wrong time are refused, and any call can be made to
 * fail in the ways in which calls over a network fail.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { statusOf, type ErrorCode, type Refusal } from "../../services/shared/errors.ts";
import { answer, FakeProblem } from "./fake-services.ts";
import type { FakeNodeState, FakeWorld } from "./fake-world.ts";

/**
 * `problem`: answered as failed, nothing done. `dropped`: the connection breaks before anything is done. `lost`: done,
 * and the connection breaks instead of the answer. `hung`: nothing is done, and no answer comes. `silent`: done, and no
 * answer comes.
 */
export type FaultKind = "problem" | "dropped" | "lost" | "hung" | "silent";

export interface Fault {
  kind: FaultKind;
  /** Code of a problem; `internal` unless told. */
  code?: ErrorCode;
  /** How many calls it befalls; one unless told. */
  times?: number;
}

export interface FakeNode extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** Makes calls fail: `POST /checkpoints/:id/dump`. */
  fail(call: string, fault: Fault): void;
  /** Holds a call until `release` is called; `arrived` resolves when it is there. It is carried out after the release. */
  hold(call: string): { arrived: Promise<void>; release: () => void };
  /** Stops listening, as a node that is down, until `up`. */
  down(): Promise<void>;
  up(): Promise<void>;
}

interface Held {
  arrived: () => void;
  released: Promise<void>;
}

export const fakeToken = "0123456789abcdef-fake";

export async function startFakeNode(world: FakeWorld, node: FakeNodeState): Promise<FakeNode> {
  const faults = new Map<string, Required<Fault>>();
  const holds = new Map<string, Held>();
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      world.violations.push(`the fake node itself failed: ${String(error)}`);
      response.destroy();
    });
  });
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://fake");
    const call = `${request.method ?? ""} ${url.pathname.replaceAll(/m-[0-9a-f]{16}/g, ":id")}`;
    const body = await readBody(request);
    world.calls.push(`${node.name} ${call}`);
    const held = holds.get(call);
    if (held !== undefined) {
      holds.delete(call);
      held.arrived();
      await held.released;
    }
    const fault = take(call);
    if (fault?.kind === "dropped") response.destroy();
    if (fault?.kind === "problem") sendProblem(response, fault.code, "made to fail");
    if (fault !== undefined && ["dropped", "problem", "hung"].includes(fault.kind)) return;
    let result: unknown;
    try {
      if (request.headers.authorization !== `Bearer ${fakeToken}`) throw new FakeProblem("unauthorized", "wrong token");
      result = await answer(world, node, request.method ?? "", url, body);
    } catch (error) {
      if (!(error instanceof FakeProblem)) throw error;
      sendProblem(response, error.code, error.message, error.reasons);
      return;
    }
    world.check(`${node.name} ${call}`);
    if (fault?.kind === "lost") response.destroy();
    if (fault !== undefined) return;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(result));
  };
  const take = (call: string): Required<Fault> | undefined => {
    const fault = faults.get(call);
    if (fault !== undefined && --fault.times <= 0) faults.delete(call);
    return fault;
  };
  let port = 0;
  const listen = (): Promise<void> =>
    new Promise((resolve) =>
      server.listen(port, "127.0.0.1", () => {
        port = (server.address() as AddressInfo).port;
        resolve();
      }),
    );
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await listen();
  return {
    url: `http://127.0.0.1:${port}`,
    token: fakeToken,
    fail: (call, { kind, code = "internal", times = 1 }) => void faults.set(call, { kind, code, times }),
    hold: (call) => {
      const arrived = Promise.withResolvers<undefined>();
      const released = Promise.withResolvers<undefined>();
      holds.set(call, { arrived: () => arrived.resolve(undefined), released: released.promise });
      return { arrived: arrived.promise, release: () => released.resolve(undefined) };
    },
    down: close,
    up: listen,
    [Symbol.asyncDispose]: close,
  };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text === "" ? undefined : JSON.parse(text);
}

function sendProblem(response: ServerResponse, code: ErrorCode, detail: string, reasons: Refusal[] = []): void {
  response.statusCode = statusOf[code];
  response.setHeader("content-type", "application/problem+json");
  response.end(
    JSON.stringify({
      type: `urn:dmigrate:problem:${code}`,
      title: code,
      status: statusOf[code],
      detail,
      code,
      reasons,
    }),
  );
}
