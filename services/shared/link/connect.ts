/** What connections of either kind have in common: the request, the bounds, the socket's settings, why it failed. */
import type { Socket } from "node:net";
import { descriptorOf } from "../adapters/socket-handover.ts";
import { setSocketOption, socketOptions } from "../adapters/socket-options.ts";
import type { Endpoint } from "../contracts/common.ts";
import { DmigrateError, messageOf } from "../errors.ts";
import type { Role } from "./preamble.ts";

export interface ConnectOptions {
  source: Endpoint;
  /** The migration's id. */
  identity: string;
  key: Buffer;
  /** What the connection is for. */
  role: Role;
  signal: AbortSignal;
}

export const handshakeTimeoutMs = 5_000;
/** An idle connection is probed so often: a side that only reads learns of a lost peer by this alone. */
const keepAliveMs = 5_000;
/** Unacknowledged data for this long means the peer is gone. */
const peerTimeoutMs = 15_000;
/** Bytes the kernel may hold that have not left yet; what is in it, an urgent frame can't overtake. */
const unsentBytes = 128 * 1024;

/** Small frames leave at once, the kernel holds little that has not left, and a dead peer is noticed. */
export function tune(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveMs);
  const fd = descriptorOf(socket);
  if (fd === undefined) return;
  // By default the second probe comes more than a minute after the first: so long a reader would wait for a lost peer.
  setSocketOption(fd, socketOptions.tcpKeepAliveIntervalSeconds, keepAliveMs / 1_000);
  setSocketOption(fd, socketOptions.tcpUserTimeoutMs, peerTimeoutMs);
  setSocketOption(fd, socketOptions.tcpUnsentBytes, unsentBytes);
}

/** Has the kernel hold less than it would otherwise of what has not left by a connection: `bytes`, where that is less. */
export function holdLess(fd: number, bytes: number): void {
  setSocketOption(fd, socketOptions.tcpUnsentBytes, Math.min(bytes, unsentBytes));
}

interface Failure extends Pick<ConnectOptions, "source" | "identity" | "signal"> {
  /** `signal`, and the time there was. */
  bounded: AbortSignal;
  /** The port was open. */
  reached: boolean;
  cause: unknown;
}

/** Why there is no connection: `cancelled`, `unavailable`, or `unauthorized`. */
export function connectFailure({ source, identity, signal, bounded, reached, cause }: Failure): DmigrateError {
  const where = `${source.host}:${source.port}`;
  if (signal.aborted) return new DmigrateError("cancelled", `the connection to ${where} was cancelled`, { cause });
  if (bounded.aborted)
    return new DmigrateError("unavailable", `the data port ${where} did not answer within ${handshakeTimeoutMs} ms`, {
      cause,
    });
  if (reached)
    return new DmigrateError(
      "unauthorized",
      `the data port ${where} refused the connection: it does not know ${identity}, or by another secret (${messageOf(cause)})`,
      { cause },
    );
  return new DmigrateError("unavailable", `the data port ${where} cannot be reached: ${messageOf(cause)}`, { cause });
}
