/**
 * The data port's server: reads what a connection is for, and lets in peers who know a transfer's secret, by TLS, or
 * without encryption where the transfer allows it. Strangers cost a bounded number of handshakes, each bounded in time.
 */
import { createServer, type Server, type Socket } from "node:net";
import { handshakeTimeoutMs, tune } from "./connect.ts";
import { closeConnection, type Connection } from "./connection.ts";
import { takeOut } from "../adapters/socket-handover.ts";
import { acceptPlain, readExactly } from "./plain-psk.ts";
import { decodePreamble, encodePreamble, preambleBytes, type Preamble, type Role } from "./preamble.ts";
import { createPskServer, leaveTls } from "./tls-psk.ts";

export interface DataServerOptions {
  /** The key of this identity, or undefined when there is none, or none without encryption. */
  keyOf: (identity: string, security: "tls" | "plain") => Buffer | undefined;
  /** Takes over a connection whose peer has proved to know the key. */
  onConnection: (connection: Connection, identity: string, role: Role) => void;
  onRefused: (error: Error) => void;
  /** Connections whose handshake is not over; more are dropped at once. */
  maxHandshakes: number;
}

export interface DataServer {
  /** Does not listen yet. */
  server: Server;
  /** Ends the connections whose handshake is not over. */
  dropHandshakes: () => void;
}

export function createDataServer(options: DataServerOptions): DataServer {
  /** By the peer's address, which the sockets of both layers know. */
  const underWay = new Map<string, Preamble>();
  const sockets = new Set<Socket>();

  const refuse = (socket: Socket, error: unknown): void => {
    socket.destroy();
    options.onRefused(error instanceof Error ? error : new Error(String(error)));
  };
  const letIn = (connection: Connection, identity: string, role: Role): void => {
    try {
      options.onConnection(connection, identity, role);
    } catch (error) {
      closeConnection(connection);
      options.onRefused(error instanceof Error ? error : new Error(String(error)));
    }
  };
  /** Until it is closed, or its connection taken out of it. */
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  };
  const tls = createPskServer({
    keyOf: (identity) => options.keyOf(identity, "tls"),
    onConnection: (socket, identity) => {
      const preamble = underWay.get(peerOf(socket));
      if (preamble === undefined) {
        socket.destroy();
        return;
      }
      socket.on("error", () => undefined);
      leaveTls(socket, encodePreamble(preamble), track).then(
        (connection) => letIn(connection, identity, preamble.role),
        (error: unknown) => refuse(socket, error),
      );
    },
    onRefused: options.onRefused,
  });
  const greet = async (socket: Socket): Promise<void> => {
    const signal = AbortSignal.timeout(handshakeTimeoutMs);
    const bytes = await readExactly(socket, preambleBytes, signal);
    const preamble = decodePreamble(bytes);
    if (preamble.security === "tls") {
      underWay.set(peerOf(socket), preamble);
      tls.emit("connection", socket);
      return;
    }
    const { identity, keys } = await acceptPlain(socket, bytes, (name) => options.keyOf(name, "plain"), signal);
    letIn({ ...takeOut(socket), keys }, identity, preamble.role);
  };
  const server = createServer((socket) => {
    if (sockets.size >= options.maxHandshakes) {
      socket.destroy();
      return;
    }
    const peer = peerOf(socket);
    track(socket);
    socket.once("close", () => underWay.delete(peer));
    // Whoever takes it over listens too; until then it is merely closed.
    socket.on("error", () => undefined);
    tune(socket);
    greet(socket).catch((error: unknown) => refuse(socket, error));
  });
  return {
    server,
    dropHandshakes: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

const peerOf = (socket: Socket): string => `${socket.remoteAddress ?? ""}|${socket.remotePort ?? 0}`;
