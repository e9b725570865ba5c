/** The two ends of a connection that the system makes, as descriptors: what is written into one comes out of the other. */
import { closeSync, readdirSync } from "node:fs";
import koffi from "koffi";
import { LinuxError } from "../../services/shared/adapters/linux.ts";
import { setSocketOption } from "../../services/shared/adapters/socket-options.ts";
import type { Connection } from "../../services/shared/link/connection.ts";
import { keyPair } from "./cipher-pair.ts";

const socketpair = koffi.load(null).func("int socketpair(int, int, int, void *)") as (...args: unknown[]) => number;
const unix = 1;
const streamNonBlockCloseOnExec = 0o2004001;
const sendBuffer = { level: 1, name: 7 } as const;

export interface SocketPair {
  /** As the handshake leaves them. */
  connections: [Connection, Connection];
  /** Closes one end. */
  close: (end: 0 | 1) => void;
  closeAll: () => void;
}

/** `sendBufferBytes`: what the system is to take at most, roughly. Throws LinuxError. */
export function socketPair(security: "tls" | "plain", sendBufferBytes?: number): SocketPair {
  const bytes = Buffer.alloc(8);
  if (socketpair(unix, streamNonBlockCloseOnExec, 0, bytes) !== 0) throw new LinuxError("socketpair", koffi.errno());
  const fds = [bytes.readInt32LE(0), bytes.readInt32LE(4)] as const;
  if (sendBufferBytes !== undefined) for (const fd of fds) setSocketOption(fd, sendBuffer, sendBufferBytes);
  const keys = keyPair(security);
  const open = new Set<number>(fds);
  const close = (end: 0 | 1): void => {
    if (open.delete(fds[end])) closeSync(fds[end]);
  };
  return {
    connections: [
      { fd: fds[0], ahead: Buffer.alloc(0), keys: keys[0] },
      { fd: fds[1], ahead: Buffer.alloc(0), keys: keys[1] },
    ],
    close,
    closeAll: () => {
      close(0);
      close(1);
    },
  };
}

/** How many descriptors this process has open. */
export const openDescriptors = (): number => readdirSync("/proc/self/fd").length;
