/**
 * System calls on parts of a large buffer, such as a frame with hundreds of small files: by address, which spares a view
 * for each part and the copy of each name.
 *
 * An address is good as long as its buffer is referenced. That what it stands for ends within the buffer is the caller's
 * to see to: nothing here can.
 */
import koffi from "koffi";
import { LinuxError, openFlags } from "./linux.ts";

const libc = koffi.load(null);
type Call = (...args: number[]) => number;
const declare = (prototype: string): Call => libc.func(prototype);
const calls = {
  openat: declare("int openat(int, uintptr_t, int, uint32_t)"),
  pread64: declare("int64_t pread64(int, uintptr_t, size_t, int64_t)"),
  pwrite64: declare("int64_t pwrite64(int, uintptr_t, size_t, int64_t)"),
  futimens: declare("int futimens(int, uintptr_t)"),
};

function check(name: keyof typeof calls, result: number): number {
  if (result < 0) throw new LinuxError(name, koffi.errno());
  return result;
}

const createFlags =
  openFlags.writeOnly | openFlags.create | openFlags.exclusive | openFlags.noFollow | openFlags.closeOnExec;

/**
 * Makes a file and opens it for writing. At `nameAddress` is a single name, never a path, with a NUL behind it: so it
 * can be nowhere but in the directory, and nothing is followed. Throws EEXIST when the name is taken.
 */
export function createFileAt(dirFd: number, nameAddress: number, mode: number): number {
  return check("openat", calls.openat(dirFd, nameAddress, createFlags, mode));
}

/** Reads up to `length` bytes at `offset` of a file; answers how many there were. */
export function readTo(fd: number, address: number, length: number, offset: number): number {
  return check("pread64", calls.pread64(fd, address, length, offset));
}

/** Writes all of `length` bytes to `offset` of a file. */
export function writeFrom(fd: number, address: number, length: number, offset: number): void {
  for (let done = 0; done < length;)
    done += check("pwrite64", calls.pwrite64(fd, address + done, length - done, offset + done));
}

/** Sets the times from two struct timespec: of the last access and of the last change. */
export function changeTimesFrom(fd: number, address: number): void {
  check("futimens", calls.futimens(fd, address));
}
