/**
 * Memory of this very process whose missing pages are asked for through a real userfaultfd, and a thread that uses it as
 * a program would. Only faults from user mode are asked for, so no privilege is needed; forks are not told of.
 */
import { Worker } from "node:worker_threads";
import koffi from "koffi";
import { LinuxError } from "../../services/shared/adapters/linux.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const syscall = libc.func("long syscall(long, int)") as Call;
const ioctl = libc.func("int ioctl(int, unsigned long, void *)") as Call;
const mmap = libc.func("uint64_t mmap(void *, size_t, int, int, int, int64_t)") as Call;

const pageBytes = 4096;
const userfaultfdNumber = process.arch === "arm64" ? 282 : 323;
const nonBlockCloseOnExec = 0o2004000;
const userModeOnly = 1;
const requests = { api: 0xc018aa3f, register: 0xc020aa00 } as const;
/** The kernel tells of remap, remove and unmap. */
const features = 4 | 8 | 64;

export interface UserfaultRegion {
  fd: number;
  /** Page numbers: the watched memory, and as much unwatched memory to move some of it to. */
  first: number;
  spare: number;
}

/** False where this machine lets nobody have a userfaultfd. */
export function canUserfault(): boolean {
  try {
    openUserfaultRegion(1);
    return true;
  } catch {
    return false;
  }
}

export function openUserfaultRegion(pages: number): UserfaultRegion {
  const fd = check("userfaultfd", syscall(userfaultfdNumber, nonBlockCloseOnExec | userModeOnly));
  const api = Buffer.alloc(24);
  api.writeBigUInt64LE(0xaan, 0);
  api.writeBigUInt64LE(BigInt(features), 8);
  check("UFFDIO_API", ioctl(fd, requests.api, api));
  const map = (): number => mmap(null, pages * pageBytes, 3, 0x22, -1, 0);
  const [address, spare] = [map(), map()];
  const register = Buffer.alloc(32);
  register.writeBigUInt64LE(BigInt(address), 0);
  register.writeBigUInt64LE(BigInt(pages * pageBytes), 8);
  register.writeBigUInt64LE(1n, 16);
  check("UFFDIO_REGISTER", ioctl(fd, requests.register, register));
  return { fd, first: address / pageBytes, spare: spare / pageBytes };
}

export type MemoryUse =
  /** Answered with the first word of each page. */
  | { kind: "read"; page: number; pages: number }
  | { kind: "forget" | "unmap" | "protect" | "unprotect"; page: number; pages: number }
  | { kind: "move"; page: number; pages: number; to: number };

/** Lets another thread use the memory, one use after the other. Resolves with what the reads found. */
export function useMemory(uses: readonly MemoryUse[]): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("memory-user.ts", import.meta.url), { workerData: uses });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

function check(call: string, result: number): number {
  if (result < 0) throw new LinuxError(call, koffi.errno());
  return result;
}
