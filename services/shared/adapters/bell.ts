/** eventfd(2): by it one thread wakes another that waits in poll(2). */
import { closeSync, readSync, writeSync } from "node:fs";
import koffi from "koffi";
import { hasErrno } from "../errors.ts";
import { LinuxError } from "./linux.ts";

const eventfd = koffi.load(null).func("int eventfd(unsigned int, int)") as (...args: unknown[]) => number;
const nonBlockCloseOnExec = 0o2004000;

const one = Buffer.from(BigUint64Array.of(1n).buffer);
const count = Buffer.alloc(8);

/** The bell's descriptor, which all threads of the process may use. Throws LinuxError. */
export function makeBell(): number {
  const fd = eventfd(0, nonBlockCloseOnExec);
  if (fd < 0) throw new LinuxError("eventfd", koffi.errno());
  return fd;
}

export const ring = (bell: number): void => void writeSync(bell, one);

/** Quiet until it is rung again. */
export function silence(bell: number): void {
  try {
    readSync(bell, count);
  } catch (error) {
    if (!hasErrno(error, "EAGAIN")) throw error;
  }
}

export const closeBell = (bell: number): void => closeSync(bell);
