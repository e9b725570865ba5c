/** socketpair(2), which Node lacks: two connected sockets that nobody else can get hold of. */
import koffi from "koffi";
import { LinuxError } from "./linux.ts";

const libc = koffi.load(null);
const socketpair = libc.func("int socketpair(int, int, int, void *)") as (...args: unknown[]) => number;

const unixFamily = 1;
const types = { stream: 1, packets: 5 } as const;
const closeOnExec = 0o2000000;

export interface DescriptorPair {
  readonly ours: number;
  /** For a child to inherit. */
  readonly theirs: number;
}

/** Both are blocking, closed by exec, and the caller's to close. Throws LinuxError. */
export function socketPair(type: keyof typeof types): DescriptorPair {
  const descriptors = Buffer.alloc(8);
  if (socketpair(unixFamily, types[type] | closeOnExec, 0, descriptors) !== 0)
    throw new LinuxError("socketpair", koffi.errno());
  return { ours: descriptors.readInt32LE(0), theirs: descriptors.readInt32LE(4) };
}
