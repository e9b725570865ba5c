/**
 * TLS 1.3 with a pre-shared key: both ends know the migration's secret, so the link is authenticated both ways and
 * encrypted, without certificates. The identity is the migration id. The key exchange is ephemeral: a secret that
 * leaks later opens no recorded traffic.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import type { OnReadOpts } from "node:net";
import { connect, createServer, type ConnectionOptions, type Server, type TLSSocket } from "node:tls";
import { descriptorOf } from "../adapters/socket-handover.ts";
import { connectFailure, handshakeTimeoutMs, tune, type ConnectOptions } from "./connect.ts";
import { encodePreamble } from "./preamble.ts";

// An external PSK belongs to one hash; SHA-256 is the one OpenSSL gives to keys from callbacks.
const tlsOptions = { minVersion: "TLSv1.3", maxVersion: "TLSv1.3", ciphers: "TLS_AES_128_GCM_SHA256" } as const;

/** A TLS record and what the system may hand over at once. */
const readBytes = 64 * 1024;

export interface PskServerOptions {
  /** The key of this identity, or undefined when there is none. */
  keyOf: (identity: string) => Buffer | undefined;
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

/** Connects and authenticates both ways. Throws `unavailable`, `unauthorized` when the keys differ, or `cancelled`. */
export async function connectPsk({ source, identity, key, role, signal, onBytes }: ConnectOptions): Promise<TLSSocket> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(handshakeTimeoutMs)]);
  // A documented option that the types lack: reads go into one buffer, instead of a new one for each.
  const onread: OnReadOpts = {
    buffer: Buffer.alloc(readBytes),
    callback: (length, { buffer, byteOffset }) => {
      onBytes(Buffer.from(buffer, byteOffset, length));
      return true;
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
      if (fd !== undefined) writeSync(fd, encodePreamble({ security: "tls", role }));
    } catch (error) {
      // The peer may be gone again already.
      socket.destroy(error as Error);
    }
  });
  try {
    await once(socket, "secureConnect", { signal: bounded });
    return socket;
  } catch (cause) {
    // Errors after this one have no reader.
    socket.on("error", () => undefined).destroy();
    throw connectFailure({ source, identity, signal, bounded, reached, cause });
  }
}
