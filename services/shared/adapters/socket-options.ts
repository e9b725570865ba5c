/** Options of sockets that Node has no word for: setsockopt(2), tcp(7). */
import koffi from "koffi";

const setsockopt = koffi.load(null).func("int setsockopt(int, int, int, const void *, uint32_t)");

const tcpLevel = 6;
/** Options of a socket, by number (linux/tcp.h, asm/socket.h). */
export const socketOptions = {
  tcpKeepAliveIntervalSeconds: { level: tcpLevel, name: 5 },
  tcpUserTimeoutMs: { level: tcpLevel, name: 18 },
  tcpUnsentBytes: { level: tcpLevel, name: 25 },
  /** Beyond the system's limit; needs CAP_NET_ADMIN. */
  sendBufferForced: { level: 1, name: 32 },
} as const;

/** Sets an option of a socket; where the kernel does not know it, or does not allow it, the socket goes without. */
export function setSocketOption(fd: number, { level, name }: { level: number; name: number }, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  setsockopt(fd, level, name, bytes, bytes.length);
}
