/**
 * userfaultfd(2): the kernel asks for the missing pages of a process, and takes them. Calls never block; each says how it
 * ended. Addresses are page numbers. See Documentation/admin-guide/mm/userfaultfd.rst of the kernel.
 */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import type { MemoryEvent } from "../core/memory-events.ts";

const libc = koffi.load(null);
const ioctl = libc.func("int ioctl(int, unsigned long, void *)") as (...args: unknown[]) => number;
const readInto = libc.func("int64_t read(int, void *, size_t)") as (...args: unknown[]) => number;

const requests = { wake: 0x8010aa02, copy: 0xc028aa03, zero: 0xc020aa04 } as const;

/**
 * How a call ended: `done`; `exists`, a page is there already; `absent`, no registered mapping holds the whole range;
 * `changing`, an event must be read first; `gone`, the process has ended.
 */
export type Outcome = "done" | "exists" | "absent" | "changing" | "gone";

const messageBytes = 32;
const messages = Buffer.alloc(64 * messageBytes);
const kinds = { fault: 0x12, fork: 0x13, move: 0x14, remove: 0x15, unmap: 0x16 } as const;

/** Events waiting, oldest first; empty when there are none. A fork's descriptor is then the caller's. Throws LinuxError. */
export function readEvents(fd: number): MemoryEvent[] {
  const bytes = readInto(fd, messages, messages.length);
  if (bytes < 0) {
    const errno = koffi.errno();
    if (errno === constants.errno.EAGAIN) return [];
    throw new LinuxError("read", errno);
  }
  const events: MemoryEvent[] = [];
  for (let at = 0; at + messageBytes <= bytes; at += messageBytes) events.push(decodeEvent(at));
  return events;
}

function decodeEvent(at: number): MemoryEvent {
  const kind = messages[at];
  const first = pageAt(at + 8);
  const second = pageAt(at + 16);
  switch (kind) {
    case kinds.fault:
      return { kind: "fault", page: second };
    case kinds.fork:
      return { kind: "fork", child: messages.readUInt32LE(at + 8) };
    case kinds.move:
      return { kind: "move", from: first, to: second, pages: pageAt(at + 24) };
    case kinds.remove:
      return { kind: "remove", page: first, pages: second - first };
    case kinds.unmap:
      return { kind: "unmap", page: first, pages: second - first };
    default:
      throw new LinuxError(`userfaultfd event ${kind ?? "?"}`, constants.errno.EPROTO);
  }
}

/** The page of the address at `at`. */
const pageAt = (at: number): number => messages.readUInt32LE(at + 4) * 2 ** 20 + (messages.readUInt32LE(at) >>> 12);

/** The kernel maps nothing below 64 KiB, and little there. */
const lowestPage = 16;

const copyArgument = Buffer.alloc(40);
const rangeArgument = Buffer.alloc(32);

/** Puts `pages` pages from address `source` to `page`, and wakes who waits for them. `pages` in the answer: how many. */
export function copyPages(
  fd: number,
  page: number,
  source: bigint,
  pages: number,
): { outcome: Outcome; pages: number } {
  writeAddress(copyArgument, 0, page);
  copyArgument.writeBigUInt64LE(source, 8);
  writeAddress(copyArgument, 16, pages);
  copyArgument.fill(0, 24);
  return conclude("UFFDIO_COPY", ioctl(fd, requests.copy, copyArgument), copyArgument, 32, pages);
}

/** Makes `pages` pages from `page` on zero, and wakes who waits for them. */
export function zeroPages(fd: number, page: number, pages: number): { outcome: Outcome; pages: number } {
  writeAddress(rangeArgument, 0, page);
  writeAddress(rangeArgument, 8, pages);
  rangeArgument.fill(0, 16);
  return conclude("UFFDIO_ZEROPAGE", ioctl(fd, requests.zero, rangeArgument), rangeArgument, 24, pages);
}

/** Wakes who waits for pages of a range: they look again. */
export function wake(fd: number, page: number, pages: number): void {
  writeAddress(rangeArgument, 0, page);
  writeAddress(rangeArgument, 8, pages);
  // It can only fail for a range that no process can have.
  ioctl(fd, requests.wake, rangeArgument);
}

/**
 * Lets the kernel prepare the mapping that a missing page is in for pages to come, and puts none there. A mapping that
 * never had one is not joined again after mprotect has split it, and the process's mremap of the whole would fail.
 */
export const prepareMapping = (fd: number, page: number): void => void copyNothing(fd, page);

/** Whether the process whose memory this is has not ended. */
export const isAlive = (fd: number): boolean => copyNothing(fd, lowestPage) !== constants.errno.ESRCH;

/** Whether a change of the memory is under way whose event was not read yet. */
export const isChanging = (fd: number): boolean => copyNothing(fd, lowestPage) === constants.errno.EAGAIN;

/** Whether a registered mapping holds the page. To be asked when nothing is changing. */
export const isMapped = (fd: number, page: number): boolean => {
  const errno = copyNothing(fd, page);
  return errno === constants.errno.EFAULT || errno === constants.errno.EEXIST;
};

/** A copy from where this process has nothing: it can't succeed, and its errno tells what the kernel found before that. */
function copyNothing(fd: number, page: number): number {
  writeAddress(copyArgument, 0, page);
  writeAddress(copyArgument, 8, lowestPage);
  writeAddress(copyArgument, 16, 1);
  copyArgument.fill(0, 24);
  return ioctl(fd, requests.copy, copyArgument) === 0 ? 0 : koffi.errno();
}

/** Closes it: what is missing then reads as zeros. */
export const closeUserfaultfd = (fd: number): void => closeSync(fd);

function conclude(
  call: string,
  result: number,
  argument: Buffer,
  countAt: number,
  pages: number,
): { outcome: Outcome; pages: number } {
  if (result === 0) return { outcome: "done", pages };
  const errno = koffi.errno();
  const bytes = argument.readBigInt64LE(countAt);
  const done = bytes > 0n ? Number(bytes / BigInt(pageBytes)) : 0;
  switch (errno) {
    // ENOMEM: the container is at its memory limit; it is tried again until there is room.
    case constants.errno.ENOMEM:
    case constants.errno.EAGAIN:
      // Part of it was done: what hinders the rest shows when that is tried.
      return { outcome: done > 0 ? "done" : "changing", pages: done };
    case constants.errno.EEXIST:
      return { outcome: "exists", pages: 0 };
    case constants.errno.ENOENT:
      return { outcome: "absent", pages: 0 };
    case constants.errno.ESRCH:
    case constants.errno.ENOSPC:
      return { outcome: "gone", pages: 0 };
    default:
      throw new LinuxError(call, errno);
  }
}

function writeAddress(buffer: Buffer, at: number, page: number): void {
  buffer.writeUInt32LE((page % 2 ** 20) * pageBytes, at);
  buffer.writeUInt32LE(Math.floor(page / 2 ** 20), at + 4);
}
