/** The kernel's reports of changes: fanotify for a whole file system, inotify for single directories. */
import { closeSync, constants, readSync } from "node:fs";
import koffi from "koffi";
import { descriptorPath, LinuxError } from "../../shared/adapters/linux.ts";
import { hasErrno } from "../../shared/errors.ts";
import type { FileHandle } from "../core/fs-event.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const declare = (prototype: string): Call => libc.func(prototype);
const calls = {
  fanotify_init: declare("int fanotify_init(uint32_t, uint32_t)"),
  fanotify_mark: declare("int fanotify_mark(int, uint32_t, uint64_t, int, const char *)"),
  inotify_init1: declare("int inotify_init1(int)"),
  inotify_add_watch: declare("int inotify_add_watch(int, const char *, uint32_t)"),
  name_to_handle_at: declare("int name_to_handle_at(int, const char *, void *, void *, int)"),
};

function check(name: keyof typeof calls, result: number): number {
  if (result < 0) throw new LinuxError(name, koffi.errno());
  return result;
}

const closeOnExecAndNonBlock = constants.O_NONBLOCK | 0o2000000;
/** FAN_CLOEXEC, FAN_NONBLOCK, and reports by directory, name and object (Linux 5.17). */
const fanotifyInit = 0x1 | 0x2 | 0x200 | 0x400 | 0x800 | 0x1000;
/** FAN_MARK_ADD, FAN_MARK_FILESYSTEM. */
const fanotifyMark = 0x1 | 0x100;
const happened = {
  modify: 0x2,
  attributes: 0x4,
  closeWrite: 0x8,
  movedFrom: 0x40,
  movedTo: 0x80,
  create: 0x100,
  remove: 0x200,
};
const onDirectories = 0x40000000;
const onlyDirectory = 0x01000000;

/** Open reports; everything that has happened by the time of a read is in it. */
export class EventQueue {
  readonly fd: number;
  readonly #buffer = Buffer.allocUnsafe(64 * 1024);

  constructor(fd: number) {
    this.fd = fd;
  }

  /** What is there now, undefined when that is nothing; used up before the next read. */
  read(): Buffer | undefined {
    try {
      return this.#buffer.subarray(0, readSync(this.fd, this.#buffer));
    } catch (error) {
      if (hasErrno(error, "EAGAIN")) return undefined;
      throw error;
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Reports of every change on the file system that holds this directory. Throws LinuxError where that can't be had. */
export function watchFileSystem(directoryFd: number): EventQueue {
  const fd = check("fanotify_init", calls.fanotify_init(fanotifyInit, 0));
  const all = Object.values(happened).reduce((mask, each) => mask | each, onDirectories);
  try {
    check("fanotify_mark", calls.fanotify_mark(fd, fanotifyMark, all, directoryFd, "."));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return new EventQueue(fd);
}

/** Reports of writes in the directories that are added. */
export function openDirectoryWatches(): EventQueue {
  return new EventQueue(check("inotify_init1", calls.inotify_init1(closeOnExecAndNonBlock)));
}

/** Answers the watch's number. Throws LinuxError, ENOSPC when there are too many. */
export function addDirectoryWatch({ fd }: EventQueue, directoryFd: number): number {
  const mask = happened.modify | happened.closeWrite | onlyDirectory;
  return check("inotify_add_watch", calls.inotify_add_watch(fd, descriptorPath(directoryFd), mask));
}

const maxHandleBytes = 128;
const emptyPath = 0x1000;

/** The handle by which fanotify would name an open file. */
export function handleOf(fd: number): FileHandle {
  const handle = Buffer.alloc(8 + maxHandleBytes);
  handle.writeUInt32LE(maxHandleBytes, 0);
  check("name_to_handle_at", calls.name_to_handle_at(fd, "", handle, Buffer.alloc(4), emptyPath));
  return { type: handle.readInt32LE(4), bytes: handle.subarray(8, 8 + handle.readUInt32LE(0)) };
}
