/**
 * The data port's server: lets in peers who know a transfer's secret, by TLS, or without encryption where the transfer
 * allows it; the first byte tells which. Strangers cost a bounded number of handshakes, each bounded in time.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { handshakeTimeoutMs, tune } from "./connect.ts";
import { acceptPlain, plainFirstByte } from "./plain-psk.ts";
import { createPskServer } from "./tls-psk.ts";

export interface DataServerOptions {
  /** The key of this identity, or undefined when there is none, or none without encryption. */
  keyOf: (identity: string, security: "tls" | "plain") => Buffer | undefined;
  onConnection: (socket: Socket, identity: string) => void;
  onRefused: (error: Error) => void;
  /** Connections whose handshake is not over; more are dropped at once. */
  maxHandshakes: number;
}

/** It does not listen yet. */
export function createDataServer({ keyOf, onConnection, onRefused, maxHandshakes }: DataServerOptions): Server {
  /** By the peer's address, which the sockets of both layers know. */
  const handshakes = new Set<string>();
  const peerOf = (socket: Socket): string => `${socket.remoteAddress ?? ""}|${socket.remotePort ?? 0}`;
  const letIn = (socket: Socket, identity: string): void => {
    handshakes.delete(peerOf(socket));
    onConnection(socket, identity);
  };
  const tls = createPskServer({ keyOf: (identity) => keyOf(identity, "tls"), onConnection: letIn, onRefused });
  const greet = async (socket: Socket): Promise<void> => {
    const signal = AbortSignal.timeout(handshakeTimeoutMs);
    await once(socket, "readable", { signal });
    const first = socket.read(1) as Buffer | null;
    if (first === null) throw new Error("the peer closed the connection at once");
    socket.unshift(first);
    if (first[0] !== plainFirstByte) tls.emit("connection", socket);
    else letIn(socket, await acceptPlain(socket, (identity) => keyOf(identity, "plain"), signal));
  };
  return createServer((socket) => {
    const peer = peerOf(socket);
    if (handshakes.size >= maxHandshakes) {
      socket.destroy();
      return;
    }
    handshakes.add(peer);
    socket.once("close", () => handshakes.delete(peer));
    // Whoever takes it over listens too; until then it is merely closed.
    socket.on("error", () => undefined);
    tune(socket);
    greet(socket).catch((error: unknown) => {
      socket.destroy();
      onRefused(error instanceof Error ? error : new Error(String(error)));
    });
  });
}
