/** Another process's descriptors: pidfd_open(2), pidfd_getfd(2), from Linux 5.6 on. */
import koffi from "koffi";
import { LinuxError } from "./linux.ts";

const syscall = koffi.load(null).func("long syscall(long, int, int, unsigned int)") as (...args: number[]) => number;
/** The same numbers on every architecture: both calls are younger than the unified table. */
const numbers = { open: 434, getDescriptor: 438 } as const;

/** A descriptor of the process, to be closed. Throws LinuxError. */
export const openProcess = (hostPid: number): number => check("pidfd_open", syscall(numbers.open, hostPid, 0, 0));

/** A duplicate of the process's descriptor `fd`, to be closed. Throws LinuxError, also when it has none of this number. */
export const duplicateFrom = (pidfd: number, fd: number): number =>
  check("pidfd_getfd", syscall(numbers.getDescriptor, pidfd, fd, 0));

function check(call: string, result: number): number {
  if (result < 0) throw new LinuxError(call, koffi.errno());
  return result;
}
