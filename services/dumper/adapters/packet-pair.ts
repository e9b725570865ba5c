/** socketpair(2) of packets, which Node lacks: CRIU's RPC is one packet each way. */
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";

const libc = koffi.load(null);
const socketpair = libc.func("int socketpair(int, int, int, void *)") as (...args: unknown[]) => number;

const unixFamily = 1;
const packets = 5;
const closeOnExec = 0o2000000;

export interface PacketPair {
  readonly ours: number;
  /** Blocking, for a child to inherit. */
  readonly theirs: number;
}

/** Both descriptors are the caller's to close. */
export function createPacketPair(): PacketPair {
  const descriptors = Buffer.alloc(8);
  if (socketpair(unixFamily, packets | closeOnExec, 0, descriptors) !== 0)
    throw new LinuxError("socketpair", koffi.errno());
  return { ours: descriptors.readInt32LE(0), theirs: descriptors.readInt32LE(4) };
}
