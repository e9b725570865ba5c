/**
 * TLS 1.3 with a pre-shared key: both ends know the migration's secret, so they prove themselves to each other without
 * certificates. The identity is the migration id. The key exchange is ephemeral: a secret that leaks later opens no
 * recorded traffic.
 *
 *     destination ──preamble──> ──handshake── <──one byte, by TLS── source
 *                 ──one byte, in the clear──> then both ways records (core/frames/record.ts)
 *
 * The records' keys are exported from the TLS session (RFC 8446, 7.5), with the preamble as the context. The source's byte
 * says that TLS is over: what comes after it on the same connection is not TLS's any more. The destination's says that its
 * TLS is gone too: before, what the source sent would have been read, and lost, together with the byte. Node's TLS would
 * cost several times what the records do, and can be used by no thread that waits in system calls.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import type { OnReadOpts, Socket } from "node:net";
import { connect, createServer, type ConnectionOptions, type Server, type TLSSocket } from "node:tls";
import { descriptorOf, holdReading, putIn, takeOut } from "../adapters/socket-handover.ts";
import { connectFailure, handshakeTimeoutMs, tune, type ConnectOptions } from "./connect.ts";
import { closeConnection, keysOf, sessionKeyBytes, type Connection } from "./connection.ts";
import { readExactly } from "./plain-psk.ts";
import { encodePreamble } from "./preamble.ts";

// An external PSK belongs to one hash; SHA-256 is the one OpenSSL gives to keys from callbacks.
const tlsOptions = { minVersion: "TLSv1.3", maxVersion: "TLSv1.3", ciphers: "TLS_AES_128_GCM_SHA256" } as const;

const exporterLabel = "EXPORTER-dmigrate-records";
/** Says that TLS is over, at the source's end and then at the destination's. */
const lastByte = Buffer.from([1]);

export interface PskServerOptions {
  /** The key of this identity, or undefined when there is none. */
  keyOf: (identity: string) => Buffer | undefined;
  /** TLS is over, and the other end is told so by `leaveTls`. */
  onConnection: (socket: TLSSocket, identity: string) => void;
  onRefused: (error: Error) => void;
}

/** Lets in only peers who know a key. It listens nowhere: sockets are given to it as its event `connection`. */
export function createPskServer({ keyOf, onConnection, onRefused }: PskServerOptions): Server {
  const identities = new WeakMap<object, string>();
  const server = createServer(
    {
      ...tlsOptions,
      handshakeTimeout: handshakeTimeoutMs,
      pskCallback: (socket, identity) => {
        const key = keyOf(identity);
        if (key === undefined) return null;
        identities.set(socket, identity);
        return key;
      },
    },
    (socket) => {
      const identity = identities.get(socket);
      // Without the callback's word the peer came by a session ticket; its transfer may be gone.
      if (identity === undefined) socket.destroy();
      else onConnection(socket, identity);
    },
  );
  server.on("tlsClientError", (error) => onRefused(error));
  return server;
}

/**
 * The source's side, after the handshake: resolves once the connection is free of TLS at both ends. Rejects when it is
 * lost, or the destination takes too long. `onBare` gets the socket that the connection is in meanwhile.
 */
export async function leaveTls(
  socket: TLSSocket,
  context: Buffer,
  onBare: (socket: Socket) => void,
): Promise<Connection> {
  const keys = keysOf(socket.exportKeyingMaterial(sessionKeyBytes, exporterLabel, context), "source", "encrypt");
  // What the destination sends once it has the byte is not for TLS.
  holdReading(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once("close", () => reject(new Error("the peer closed the connection")));
    socket.write(lastByte, (error) => (error ? reject(error) : resolve()));
  });
  const bare = putIn(takeOut(socket));
  bare.on("error", () => undefined);
  onBare(bare);
  try {
    const byte = await readExactly(bare, lastByte.length, AbortSignal.timeout(handshakeTimeoutMs));
    if (!byte.equals(lastByte)) throw new Error("the destination speaks another protocol");
    return { ...takeOut(bare), keys };
  } catch (error) {
    bare.destroy();
    throw error;
  }
}

/** Connects and authenticates both ways. Throws `unavailable`, `unauthorized` when the keys differ, or `cancelled`. */
export async function connectPsk({ source, identity, key, role, signal }: ConnectOptions): Promise<Connection> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(handshakeTimeoutMs)]);
  const preamble = encodePreamble({ security: "tls", role });
  const freed = Promise.withResolvers<Connection>();
  // A documented option that the types lack: this is called for each piece that comes, before the next is read.
  const onread: OnReadOpts = {
    buffer: Buffer.alloc(lastByte.length + 1),
    callback: (length) => {
      try {
        if (length !== lastByte.length) throw new Error("the source speaks another protocol");
        const keys = keysOf(
          socket.exportKeyingMaterial(sessionKeyBytes, exporterLabel, preamble),
          "destination",
          "encrypt",
        );
        freed.resolve(goOn({ ...takeOut(socket), keys }));
      } catch (error) {
        freed.reject(error);
      }
      return false;
    },
  };
  const options: ConnectionOptions & { onread: OnReadOpts } = {
    ...tlsOptions,
    host: source.host,
    port: source.port,
    pskCallback: () => ({ psk: key, identity }),
    // There is no certificate to check: the peer proves that it knows the key.
    checkServerIdentity: () => undefined,
    onread,
  };
  const socket = connect(options);
  let reached = false;
  // Before Node begins the handshake, which it does at this event too.
  socket.prependOnceListener("connect", () => {
    reached = true;
    tune(socket);
    const fd = descriptorOf(socket);
    try {
      if (fd !== undefined) writeSync(fd, preamble);
    } catch (error) {
      // The peer may be gone again already.
      socket.destroy(error as Error);
    }
  });
  const ended = once(socket, "close", { signal: bounded }).then(() => {
    throw new Error("the connection was closed");
  });
  ended.catch(() => undefined);
  try {
    return await Promise.race([freed.promise, ended]);
  } catch (cause) {
    // Errors after this one have no reader.
    socket.on("error", () => undefined).destroy();
    throw connectFailure({ source, identity, signal, bounded, reached, cause });
  }
}

/** Tells the source that it may send. Throws when the connection is gone. */
function goOn(connection: Connection): Connection {
  try {
    writeSync(connection.fd, lastByte);
    return connection;
  } catch (error) {
    closeConnection(connection);
    throw error;
  }
}
