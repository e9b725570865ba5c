/**
 * TLS 1.3 with a pre-shared key: both ends know the migration's secret, so the link is authenticated both ways and
 * encrypted, without certificates. The identity is the migration id. The key exchange is ephemeral: a secret that
 * leaks later opens no recorded traffic.
 */
import { once } from "node:events";
import type { OnReadOpts, Socket } from "node:net";
import { connect, createServer, type ConnectionOptions, type Server, type TLSSocket } from "node:tls";
import { setSocketOption, socketOptions } from "../adapters/linux.ts";
import type { Endpoint } from "../contracts/common.ts";
import { DmigrateError, messageOf } from "../errors.ts";

// An external PSK belongs to one hash; SHA-256 is the one OpenSSL gives to keys from callbacks.
const tlsOptions = { minVersion: "TLSv1.3", maxVersion: "TLSv1.3", ciphers: "TLS_AES_128_GCM_SHA256" } as const;

const handshakeTimeoutMs = 5_000;
/** A TLS record and what the system may hand over at once. */
const readBytes = 64 * 1024;
/** An idle connection is probed so often: a side that only reads learns of a lost peer by this alone. */
const keepAliveMs = 5_000;
/** Unacknowledged data for this long means the peer is gone. */
const peerTimeoutMs = 15_000;
/** Bytes the kernel may hold that have not left yet; what is in it, an urgent frame can't overtake. */
const unsentBytes = 128 * 1024;

export interface PskServerOptions {
  /** The key of this identity, or undefined when there is none. */
  keyOf: (identity: string) => Buffer | undefined;
  onConnection: (socket: TLSSocket, identity: string) => void;
  onRefused: (error: Error) => void;
  /** Connections whose handshake is not over; more are dropped at once. */
  maxHandshakes: number;
}

/** A server that lets in only peers who know a key. It does not listen yet. */
export function createPskServer({ keyOf, onConnection, onRefused, maxHandshakes }: PskServerOptions): Server {
  const identities = new WeakMap<object, string>();
  /** Connections whose handshake is not over, by the peer's address: both layers' sockets know it. */
  const handshakes = new Set<string>();
  const peerOf = (socket: Socket): string => `${socket.remoteAddress ?? ""}|${socket.remotePort ?? 0}`;
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
      handshakes.delete(peerOf(socket));
      const identity = identities.get(socket);
      // Without the callback's word the peer came by a session ticket; its transfer may be gone.
      if (identity === undefined) socket.destroy();
      else onConnection(socket, identity);
    },
  );
  server.on("connection", (raw: Socket) => {
    const peer = peerOf(raw);
    if (handshakes.size >= maxHandshakes) {
      raw.destroy();
      return;
    }
    handshakes.add(peer);
    raw.once("close", () => handshakes.delete(peer));
    tune(raw);
  });
  server.on("tlsClientError", (error) => onRefused(error));
  return server;
}

export interface PskClientOptions {
  source: Endpoint;
  identity: string;
  key: Buffer;
  signal: AbortSignal;
  /** Gets what arrives; the buffer is used again after it returns. */
  onBytes: (bytes: Buffer) => void;
}

/** Connects and authenticates both ways. Throws `unavailable`, `unauthorized` when the keys differ, or `cancelled`. */
export async function connectPsk({ source, identity, key, signal, onBytes }: PskClientOptions): Promise<TLSSocket> {
  const where = `${source.host}:${source.port}`;
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
  const reached = new AbortController();
  socket.once("connect", () => {
    reached.abort();
    tune(socket);
  });
  try {
    await once(socket, "secureConnect", { signal: bounded });
    return socket;
  } catch (cause) {
    // Errors after this one have no reader.
    socket.on("error", () => undefined).destroy();
    if (signal.aborted) throw new DmigrateError("cancelled", `the connection to ${where} was cancelled`, { cause });
    if (bounded.aborted)
      throw new DmigrateError("unavailable", `the data port ${where} did not answer within ${handshakeTimeoutMs} ms`, {
        cause,
      });
    if (reached.signal.aborted)
      throw new DmigrateError(
        "unauthorized",
        `the data port ${where} refused the connection: it does not know ${identity}, or by another secret (${messageOf(cause)})`,
        { cause },
      );
    throw new DmigrateError("unavailable", `the data port ${where} cannot be reached: ${messageOf(cause)}`, { cause });
  }
}

/** Small frames leave at once, the kernel holds little that has not left, and a dead peer is noticed. */
function tune(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveMs);
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  if (typeof fd !== "number" || fd < 0) return;
  // By default the second probe comes more than a minute after the first: so long a reader would wait for a lost peer.
  setSocketOption(fd, socketOptions.tcpKeepAliveIntervalSeconds, keepAliveMs / 1_000);
  setSocketOption(fd, socketOptions.tcpUserTimeoutMs, peerTimeoutMs);
  setSocketOption(fd, socketOptions.tcpUnsentBytes, unsentBytes);
}
