/** socketpair(2), which Node lacks: two connected stream sockets that nobody else can get hold of. */
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import koffi from "koffi";
import { DmigrateError } from "../../shared/errors.ts";

const libc = koffi.load(null);
const socketpair = libc.func("int socketpair(int, int, int, void *)") as (...args: unknown[]) => number;
const setsockopt = libc.func("int setsockopt(int, int, int, const void *, uint32_t)") as (...args: unknown[]) => number;

const unixFamily = 1;
const streamType = 1;
const closeOnExec = 0o2000000;
const socketLevel = 1;
const sendBufferForced = 32;

export interface SocketPair {
  readonly ours: Socket;
  /** The descriptor under `ours`, for a child to inherit. */
  readonly oursFd: number;
  /** The other end: blocking, as a child expects it. Closed by `closeTheirs`. */
  readonly theirsFd: number;
  /** Once a child has inherited it, or when none will. */
  closeTheirs(): void;
}

/** `sendBytes`: how much we can write without the other side reading. Throws `unavailable`. */
export function createSocketPair(sendBytes: number): SocketPair {
  const descriptors = Buffer.alloc(8);
  if (socketpair(unixFamily, streamType | closeOnExec, 0, descriptors) !== 0)
    throw new DmigrateError("unavailable", `no socket pair can be made: ${errorName(koffi.errno())}`);
  const oursFd = descriptors.readInt32LE(0);
  const theirsFd = descriptors.readInt32LE(4);
  // By default an answer would leave in pieces of 200 KB, each after a wake-up. Without CAP_NET_ADMIN it stays so.
  const size = Buffer.alloc(4);
  size.writeInt32LE(sendBytes);
  setsockopt(oursFd, socketLevel, sendBufferForced, size, size.length);
  let open = true;
  return {
    ours: new Socket({ fd: oursFd, readable: true, writable: true }),
    oursFd,
    theirsFd,
    closeTheirs: () => {
      if (open) closeSync(theirsFd);
      open = false;
    },
  };
}

function errorName(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}
