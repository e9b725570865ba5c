/** Sockets without Node's event loop, for threads that wait in system calls: send(2), recv(2). Neither call waits. */
import { constants } from "node:os";
import koffi from "koffi";
import { LinuxError } from "./linux.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const sendTo = libc.func("int64_t send(int, const void *, size_t, int)") as Call;
const receiveFrom = libc.func("int64_t recv(int, void *, size_t, int)") as Call;

/** MSG_DONTWAIT, and MSG_NOSIGNAL: a lost peer is an answer, not a signal. */
const flags = 0x40 | 0x4000;

/** Answers how many bytes the system took; 0 when it has no room. Throws LinuxError when the connection is lost. */
export function send(fd: number, address: bigint, bytes: number): number {
  const sent = sendTo(fd, address, bytes, flags);
  return sent >= 0 ? sent : none("send");
}

/** Answers how many bytes came; 0 when there are none just now, undefined when the peer has closed. Throws LinuxError. */
export function receive(fd: number, address: bigint, bytes: number): number | undefined {
  const received = receiveFrom(fd, address, bytes, flags);
  if (received > 0) return received;
  return received === 0 ? undefined : none("recv");
}

function none(call: string): 0 {
  const errno = koffi.errno();
  if (errno === constants.errno.EAGAIN || errno === constants.errno.EINTR) return 0;
  throw new LinuxError(call, errno);
}
