/**
 * The data port's server: reads what a connection is for, and lets in peers who know a transfer's secret, by TLS, or
 * without encryption where the transfer allows it. Strangers cost a bounded number of handshakes, each bounded in time.
 */
import { createServer, type Server, type Socket } from "node:net";
import { handshakeTimeoutMs, tune } from "./connect.ts";
import { acceptPlain, readExactly } from "./plain-psk.ts";
import { decodePreamble, preambleBytes, type Preamble } from "./preamble.ts";
import { createPskServer } from "./tls-psk.ts";

export interface HandshakeOptions {
  /** The key of this identity, or undefined when there is none, or none without encryption. */
  keyOf: (identity: string, security: "tls" | "plain") => Buffer | undefined;
  onConnection: (socket: Socket, identity: string, preamble: Preamble) => void;
  onRefused: (error: Error) => void;
  /** Connections whose handshake is not over; more are dropped at once. */
  maxHandshakes: number;
}

export interface DataServerOptions extends HandshakeOptions {
  /** Takes the connection away; true when it has. The socket is then nobody's here. */
  takeAway?: (socket: Socket, preamble: Preamble) => boolean;
}

/** Does what comes after the preamble. */
export class Handshakes {
  readonly #options: HandshakeOptions;
  /** By the peer's address, which the sockets of both layers know. */
  readonly #underWay = new Map<string, Preamble | undefined>();
  readonly #tls: ReturnType<typeof createPskServer>;

  constructor(options: HandshakeOptions) {
    this.#options = options;
    this.#tls = createPskServer({
      keyOf: (identity) => options.keyOf(identity, "tls"),
      onConnection: (socket, identity) => this.#letIn(socket, identity),
      onRefused: options.onRefused,
    });
  }

  /** Takes a fresh connection, until its handshake is over; false, and it is dropped, when there are too many. */
  begin(socket: Socket): boolean {
    if (this.#underWay.size >= this.#options.maxHandshakes) {
      socket.destroy();
      return false;
    }
    const peer = peerOf(socket);
    this.#underWay.set(peer, undefined);
    socket.once("close", () => this.#underWay.delete(peer));
    // Whoever takes it over listens too; until then it is merely closed.
    socket.on("error", () => undefined);
    tune(socket);
    return true;
  }

  /** Goes on with one whose preamble was read. */
  async goOn(socket: Socket, preamble: Preamble): Promise<void> {
    this.#underWay.set(peerOf(socket), preamble);
    if (preamble.security === "tls") {
      this.#tls.emit("connection", socket);
      return;
    }
    const signal = AbortSignal.timeout(handshakeTimeoutMs);
    this.#letIn(socket, await acceptPlain(socket, (identity) => this.#options.keyOf(identity, "plain"), signal));
  }

  refuse(socket: Socket, error: unknown): void {
    socket.destroy();
    this.#options.onRefused(error instanceof Error ? error : new Error(String(error)));
  }

  #letIn(socket: Socket, identity: string): void {
    const peer = peerOf(socket);
    const preamble = this.#underWay.get(peer);
    this.#underWay.delete(peer);
    if (preamble === undefined) socket.destroy();
    else this.#options.onConnection(socket, identity, preamble);
  }
}

/** It does not listen yet. */
export function createDataServer({ takeAway, ...options }: DataServerOptions): Server {
  const handshakes = new Handshakes(options);
  const greet = async (socket: Socket): Promise<void> => {
    const signal = AbortSignal.timeout(handshakeTimeoutMs);
    const preamble = decodePreamble(await readExactly(socket, preambleBytes, signal));
    if (takeAway?.(socket, preamble) !== true) await handshakes.goOn(socket, preamble);
  };
  return createServer((socket) => {
    if (handshakes.begin(socket)) greet(socket).catch((error: unknown) => handshakes.refuse(socket, error));
  });
}

const peerOf = (socket: Socket): string => `${socket.remoteAddress ?? ""}|${socket.remotePort ?? 0}`;
