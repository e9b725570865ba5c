import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";

/** The result of a system call. Throws LinuxError with its errno when it is negative; to be called right after it. */
export function checkCall(call: string, result: number): number {
  if (result < 0) throw new LinuxError(call, koffi.errno());
  return result;
}
