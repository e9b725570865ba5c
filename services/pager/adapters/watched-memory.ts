/** Memory of this very process whose missing pages are asked for by a userfaultfd: userfaultfd(2), ioctl_userfaultfd(2). */
import koffi from "koffi";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import { checkCall } from "./check-call.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const syscall = libc.func("long syscall(long, int)") as Call;
const ioctl = libc.func("int ioctl(int, unsigned long, void *)") as Call;
const mmap = libc.func("int64_t mmap(void *, size_t, int, int, int, int64_t)") as Call;
const munmap = libc.func("int munmap(uint64_t, size_t)") as Call;
const memcpy = libc.func("void *memcpy(void *, uint64_t, size_t)");

const userfaultfdNumber = process.arch === "arm64" ? 282 : 323;
const nonBlockCloseOnExec = 0o2004000;
/** UFFD_USER_MODE_ONLY: needs no privilege. */
const userModeOnly = 1;
const requests = { api: 0xc018aa3f, register: 0xc020aa00 } as const;
const apiVersion = 0xaan;
const missing = 1n;
const readWrite = 3;
const privateAnonymous = 0x22;

/** A userfaultfd that asks for nothing yet. `features`: what else the kernel is to tell of. Throws LinuxError. */
export function openUserfaultfd(features = 0): number {
  const fd = checkCall("userfaultfd", syscall(userfaultfdNumber, nonBlockCloseOnExec | userModeOnly));
  const api = Buffer.alloc(24);
  api.writeBigUInt64LE(apiVersion, 0);
  api.writeBigUInt64LE(BigInt(features), 8);
  checkCall("UFFDIO_API", ioctl(fd, requests.api, api));
  return fd;
}

/** Maps memory that has no pages yet; answers its first page. Throws LinuxError. */
export function mapMemory(pages: number): number {
  return checkCall("mmap", mmap(null, pages * pageBytes, readWrite, privateAnonymous, -1, 0)) / pageBytes;
}

export const unmapMemory = (page: number, pages: number): void => void munmap(page * pageBytes, pages * pageBytes);

/** Has pages asked for where they are missing. Throws LinuxError. */
export function watchMemory(fd: number, page: number, pages: number): void {
  const range = Buffer.alloc(32);
  range.writeBigUInt64LE(BigInt(page * pageBytes), 0);
  range.writeBigUInt64LE(BigInt(pages * pageBytes), 8);
  range.writeBigUInt64LE(missing, 16);
  checkCall("UFFDIO_REGISTER", ioctl(fd, requests.register, range));
}

/** Where what is read goes: as long as the process lives, since the thread that reads does not hold on to it. */
const touched = Buffer.alloc(8);

/** Has a thread of Node's pool read a page: resolves once it is there. */
export function touchPage(page: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  memcpy.async(touched, page * pageBytes, 1, () => resolve(undefined));
  return promise;
}
