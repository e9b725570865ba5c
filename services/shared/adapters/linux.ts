/**
 * The system calls that Node lacks, by name as in their manual pages: paths relative to directory descriptors, file
 * names as bytes, nanosecond times, holes, extended attributes. A failed call throws LinuxError with the errno's name.
 * All of them block; on a local file system they take microseconds.
 */
import { constants } from "node:os";
import koffi from "koffi";
import { fixedMemory } from "./fixed-memory.ts";
import type { FileTime } from "../core/file-time.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const declare = (prototype: string): Call => libc.func(prototype);

const calls = {
  syscall: declare("long syscall(long, int, uintptr_t, uintptr_t, size_t)"),
  statx: declare("int statx(int, uintptr_t, int, uint32_t, uintptr_t)"),
  getdents64: declare("int64_t getdents64(int, void *, size_t)"),
  open: declare("int open(const void *, int, int)"),
  close: declare("int close(int)"),
  mkdirat: declare("int mkdirat(int, const void *, uint32_t)"),
  mknodat: declare("int mknodat(int, const void *, uint32_t, uint64_t)"),
  symlinkat: declare("int symlinkat(const void *, int, const void *)"),
  linkat: declare("int linkat(int, const void *, int, const void *, int)"),
  unlinkat: declare("int unlinkat(int, const void *, int)"),
  readlinkat: declare("int64_t readlinkat(int, const void *, void *, size_t)"),
  fchown: declare("int fchown(int, uint32_t, uint32_t)"),
  fchownat: declare("int fchownat(int, const void *, uint32_t, uint32_t, int)"),
  chmod: declare("int chmod(const void *, uint32_t)"),
  fchmod: declare("int fchmod(int, uint32_t)"),
  ftruncate: declare("int ftruncate(int, int64_t)"),
  fallocate: declare("int fallocate(int, int, int64_t, int64_t)"),
  futimens: declare("int futimens(int, const void *)"),
  utimensat: declare("int utimensat(int, const void *, const void *, int)"),
  lseek: declare("int64_t lseek(int, int64_t, int)"),
  llistxattr: declare("int64_t llistxattr(const void *, void *, size_t)"),
  lgetxattr: declare("int64_t lgetxattr(const void *, const void *, void *, size_t)"),
  lsetxattr: declare("int lsetxattr(const void *, const void *, const void *, size_t, int)"),
  lremovexattr: declare("int lremovexattr(const void *, const void *)"),
  flistxattr: declare("int64_t flistxattr(int, uintptr_t, size_t)"),
  fgetxattr: declare("int64_t fgetxattr(int, const void *, void *, size_t)"),
  fsetxattr: declare("int fsetxattr(int, const void *, const void *, size_t, int)"),
  fremovexattr: declare("int fremovexattr(int, const void *)"),
  openTree: declare("long syscall(long, int, const void *, uint32_t)"),
  setMount: declare("long syscall(long, int, const void *, uint32_t, const void *, size_t)"),
};

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** A system call that failed; `code` is the errno's name, as on Node's own errors. */
export class LinuxError extends Error {
  override readonly name = "LinuxError";
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string, errno: number) {
    const code = errnoNames.get(errno) ?? (errno === 61 ? "ENODATA" : `errno ${errno}`);
    super(`${syscall}: ${code}`);
    this.code = code;
    this.syscall = syscall;
  }
}

function check(syscall: keyof typeof calls | "openat2", result: number): number {
  if (result < 0) throw new LinuxError(syscall, koffi.errno());
  return result;
}

/** Where names are put. */
const { buffer: firstName, address: firstNameAddress } = fixedMemory(4352);
const secondName = Buffer.alloc(4352);

/** A name or path as C takes it, for the very next call. A NUL inside would cut it short, so it is refused. */
function cString(name: Uint8Array, room = firstName): Buffer {
  if (name.includes(0)) throw new LinuxError("path", constants.errno.EINVAL);
  if (name.length >= room.length) throw new LinuxError("path", constants.errno.ENAMETOOLONG);
  room.set(name);
  room[name.length] = 0;
  return room;
}

/** The same, by its address. */
function cStringAddress(name: Uint8Array): number {
  cString(name);
  return firstNameAddress;
}

const { buffer: empty, address: emptyAddress } = fixedMemory(1);

export const openFlags = {
  readOnly: 0o0,
  writeOnly: 0o1,
  create: 0o100,
  exclusive: 0o200,
  nonBlock: 0o4000,
  directory: process.arch === "arm64" ? 0o40000 : 0o200000,
  noFollow: process.arch === "arm64" ? 0o100000 : 0o400000,
  noAccessTime: 0o1000000,
  closeOnExec: 0o2000000,
  pathOnly: 0o10000000,
} as const;

const openat2Number = 437;
// No mount crossed, no symbolic link followed, nothing above the directory.
const resolveBeneath = 0x01 | 0x02 | 0x04 | 0x08;
/** struct open_how: flags, mode and resolve, each u64. */
const { buffer: openHow, address: openHowAddress } = fixedMemory(24);
openHow.writeUInt32LE(resolveBeneath, 16);

/**
 * Opens `path` beneath the directory `dirFd`: no component may be a symbolic link, `..` beyond it, or another mount.
 * Throws ELOOP for a link, EXDEV for an escape or a mount point.
 */
export function openBeneath(dirFd: number, path: Uint8Array, flags: number, mode = 0): number {
  openHow.writeUInt32LE(flags | openFlags.closeOnExec | openFlags.noFollow, 0);
  openHow.writeUInt32LE(mode, 8);
  return check("openat2", calls.syscall(openat2Number, dirFd, cStringAddress(path), openHowAddress, 24));
}

/** Whether this kernel has openat2 at all (Linux 5.6). */
export function canOpenBeneath(): boolean {
  const root = openTrustedDirectory("/");
  try {
    close(openBeneath(root, Buffer.from("proc/self"), openFlags.pathOnly));
    return true;
  } catch (error) {
    // Refused by its rules, so it is there.
    return error instanceof LinuxError && error.code !== "ENOSYS";
  } finally {
    close(root);
  }
}

/** The name by which the kernel gives an open descriptor's file again. */
export const descriptorPath = (fd: number): string => `/proc/self/fd/${fd}`;

/** Opens the very file of a descriptor again, such as a `pathOnly` one for reading. */
export function reopen(fd: number, flags: number): number {
  return check("open", calls.open(cString(Buffer.from(descriptorPath(fd))), flags | openFlags.closeOnExec, 0));
}

/** Opens a directory by a path that is trusted, such as one from Docker. */
export function openTrustedDirectory(path: string): number {
  const flags = openFlags.readOnly | openFlags.directory | openFlags.noFollow | openFlags.closeOnExec;
  return check("open", calls.open(cString(Buffer.from(path)), flags, 0));
}

const openTreeNumber = 428;
const setMountNumber = 442;
const openTreeFlags = 0x1 | openFlags.closeOnExec | 0x8000 | 0x1000;
const mountFlags = 0x8000 | 0x1000;
/** struct mount_attr: MOUNT_ATTR_NODEV is set. */
const noDevices = new BigUint64Array([0x4n, 0n, 0n, 0n]);

/**
 * Opens a directory a second time, as a mount of its own that nobody else sees and in which no device can be opened, with
 * all that is mounted in it. It is gone once its last descriptor is closed. Undefined where the kernel (before 5.12) or
 * the process's rights do not allow it.
 */
export function openWithoutDevices(dirFd: number): number | undefined {
  const fd = calls.openTree(openTreeNumber, dirFd, empty, openTreeFlags);
  if (fd < 0) return undefined;
  if (calls.setMount(setMountNumber, fd, empty, mountFlags, noDevices, noDevices.byteLength) === 0) return fd;
  close(fd);
  return undefined;
}

export function close(fd: number): void {
  check("close", calls.close(fd));
}

export interface FileStat {
  /** Type and permission bits. */
  mode: number;
  links: number;
  uid: number;
  gid: number;
  size: number;
  /** Allocated, in units of 512 bytes. */
  blocks: number;
  /** Device and inode: names of one file share it. */
  identity: string;
  /** All that a change of the entry would change, the change time first among it; not the access time, nor the blocks. */
  signature: string;
  /** Of a device node: the device it names. */
  nodeMajor: number;
  nodeMinor: number;
  access: FileTime;
  modify: FileTime;
  change: FileTime;
}

const { buffer: statBuffer, address: statAddress } = fixedMemory(256);
const statView = new DataView(statBuffer.buffer, statBuffer.byteOffset, statBuffer.length);
const statxFlags = { emptyPath: 0x1000, noFollow: 0x100, dontSync: 0x4000 };
const statxBasic = 0x7ff;

function statWith(dirFd: number, pathAddress: number, flags: number): FileStat {
  check("statx", calls.statx(dirFd, pathAddress, flags, statxBasic, statAddress));
  return new Statx();
}

/** Takes over what `statBuffer` holds: of struct statx, at the offsets that the manual page's types give. */
class Statx implements FileStat {
  readonly links = statView.getUint32(16, true);
  readonly uid = statView.getUint32(20, true);
  readonly gid = statView.getUint32(24, true);
  readonly mode = statView.getUint16(28, true);
  readonly size = number64(40);
  readonly blocks = number64(48);
  readonly nodeMajor = statView.getUint32(128, true);
  readonly nodeMinor = statView.getUint32(132, true);
  readonly identity: string;
  readonly signature: string;
  readonly access = timeAt(64);
  readonly change = timeAt(96);
  readonly modify = timeAt(112);

  constructor() {
    // Blocks and access time change by themselves.
    for (const at of [48, 64, 72]) statView.setFloat64(at, 0);
    this.signature = statBuffer.toString("latin1", 16, 144);
    // Inode and device, side by side: pieces of a string would be put together where it is looked up.
    for (const at of [0, 4]) statView.setUint32(128 + at, statView.getUint32(32 + at));
    this.identity = statBuffer.toString("latin1", 128, 144);
  }
}

const timeAt = (at: number): FileTime => ({
  seconds: statView.getUint32(at, true) + statView.getInt32(at + 4, true) * 2 ** 32,
  nanos: statView.getUint32(at + 8, true),
});

const number64 = (at: number): number => statView.getUint32(at, true) + statView.getUint32(at + 4, true) * 2 ** 32;

/** What `name` in a directory is; a symbolic link is not followed. */
export const statAt = (dirFd: number, name: Uint8Array): FileStat =>
  statWith(dirFd, cStringAddress(name), statxFlags.noFollow);
export const statDescriptor = (fd: number): FileStat => statWith(fd, emptyAddress, statxFlags.emptyPath);
/** Follows links. What the kernel has at hand is enough: a file system served by a process is not asked. */
export const statPathWithoutSync = (path: string): FileStat =>
  statWith(-100, cStringAddress(Buffer.from(path)), statxFlags.dontSync);

const directoryBuffer = Buffer.alloc(64 * 1024);

/** A name in a directory, and what it is as far as the directory knows. */
export interface DirectoryName {
  name: Buffer;
  /** The type as in a mode, shifted by 12 bits; 0 where the file system does not say. */
  type: number;
}

/** Into the buffer: answers how many bytes, 0 at the end. One that was removed after it was opened is empty, but for the kernel. */
function readEntries(fd: number): number {
  const length = calls.getdents64(fd, directoryBuffer, directoryBuffer.length);
  return length < 0 && koffi.errno() === constants.errno.ENOENT ? 0 : check("getdents64", length);
}

/** What is in an open directory, but `.` and `..`, in the directory's own order. */
export function* readDirectoryTypes(fd: number): Generator<DirectoryName, void, void> {
  check("lseek", calls.lseek(fd, 0, 0));
  for (;;) {
    const length = readEntries(fd);
    if (length === 0) return;
    // Copied, since another listing may use the buffer while this one waits.
    const entries = Buffer.from(directoryBuffer.subarray(0, length));
    for (let at = 0; at < length; at += entries.readUInt16LE(at + 16)) {
      // By hand: a name is short, and a call of the native search takes longer than to look at it.
      let end = at + 19;
      while (end < length && entries[end] !== 0) end++;
      const name = entries.subarray(at + 19, end);
      if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) continue;
      yield { name, type: entries[at + 18] ?? 0 };
    }
  }
}

/** The names alone. */
export function* readDirectory(fd: number): Generator<Buffer, void, void> {
  for (const { name } of readDirectoryTypes(fd)) yield name;
}

export function makeDirectoryAt(dirFd: number, name: Uint8Array, mode: number): void {
  check("mkdirat", calls.mkdirat(dirFd, cString(name), mode));
}

/** Makes a FIFO, a socket or a device node; `mode` has the type. The process's umask applies. */
export function makeNodeAt(dirFd: number, name: Uint8Array, mode: number, major: number, minor: number): void {
  const [major64, minor64] = [BigInt(major), BigInt(minor)];
  const device =
    ((major64 & 0xfffff000n) << 32n) |
    ((major64 & 0xfffn) << 8n) |
    ((minor64 & 0xffffff00n) << 12n) |
    (minor64 & 0xffn);
  check("mknodat", calls.mknodat(dirFd, cString(name), mode, device));
}

export function makeSymlinkAt(dirFd: number, name: Uint8Array, target: Uint8Array): void {
  check("symlinkat", calls.symlinkat(cString(target), dirFd, cString(name, secondName)));
}

/** Gives the file of a descriptor (a `pathOnly` one will do) one more name. */
export function linkDescriptorAt(fd: number, dirFd: number, name: Uint8Array): void {
  // By the descriptor's path, since AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH. 0x400: follow that link.
  check(
    "linkat",
    calls.linkat(-100, cString(Buffer.from(descriptorPath(fd))), dirFd, cString(name, secondName), 0x400),
  );
}

export function removeAt(dirFd: number, name: Uint8Array, kind: "file" | "directory"): void {
  check("unlinkat", calls.unlinkat(dirFd, cString(name), kind === "directory" ? 0x200 : 0));
}

export function readLinkAt(dirFd: number, name: Uint8Array): Buffer {
  const target = Buffer.alloc(4096);
  const length = check("readlinkat", calls.readlinkat(dirFd, cString(name), target, target.length));
  return target.subarray(0, length);
}

export function changeOwnerAt(dirFd: number, name: Uint8Array, uid: number, gid: number): void {
  check("fchownat", calls.fchownat(dirFd, cString(name), uid, gid, statxFlags.noFollow));
}
export function changeOwner(fd: number, uid: number, gid: number): void {
  check("fchown", calls.fchown(fd, uid, gid));
}

/** `mode` without the type. Works for a `pathOnly` descriptor too. */
export function changeMode(fd: number, mode: number): void {
  if (calls.fchmod(fd, mode) === 0) return;
  check("chmod", calls.chmod(cString(Buffer.from(descriptorPath(fd))), mode));
}

export function truncate(fd: number, size: number): void {
  check("ftruncate", calls.ftruncate(fd, size));
}

/** Makes a hole, where the file system can. The file keeps its size. */
export function punchHole(fd: number, offset: number, length: number): void {
  check("fallocate", calls.fallocate(fd, 0x1 | 0x2, offset, length));
}

/** Two struct timespec: of the last access and the last change. */
const timespecs = new BigInt64Array(4);

function timesOf(access: FileTime, modify: FileTime): BigInt64Array {
  timespecs[0] = BigInt(access.seconds);
  timespecs[1] = BigInt(access.nanos);
  timespecs[2] = BigInt(modify.seconds);
  timespecs[3] = BigInt(modify.nanos);
  return timespecs;
}

export function changeTimesAt(dirFd: number, name: Uint8Array, access: FileTime, modify: FileTime): void {
  check("utimensat", calls.utimensat(dirFd, cString(name), timesOf(access, modify), statxFlags.noFollow));
}
export function changeTimes(fd: number, access: FileTime, modify: FileTime): void {
  check("futimens", calls.futimens(fd, timesOf(access, modify)));
}

/** Where the next data begins at or after `from`; undefined when only a hole is left. */
export function seekData(fd: number, from: number): number | undefined {
  const at = calls.lseek(fd, from, 3);
  if (at >= 0) return at;
  const errno = koffi.errno();
  if (errno === constants.errno.ENXIO) return undefined;
  throw new LinuxError("lseek", errno);
}
/** Where the next hole begins at or after `from`; the file's end counts as one. */
export const seekHole = (fd: number, from: number): number => check("lseek", calls.lseek(fd, from, 4));

/** A file whose attributes are meant: an open one, or a name in a directory (never followed). */
export type AttributeTarget = number | { dirFd: number; name: Uint8Array };

const procName = ({ dirFd, name }: { dirFd: number; name: Uint8Array }): Buffer =>
  cString(Buffer.concat([Buffer.from(`${descriptorPath(dirFd)}/`), name]));

/** Largest list of names, and largest value, that the kernel knows. */
const { buffer: attributeBuffer, address: attributeAddress } = fixedMemory(65_536);

/** Names of the extended attributes; none where the file system has no such thing. */
export function listAttributes(target: AttributeTarget): Buffer[] {
  const length =
    typeof target === "number"
      ? calls.flistxattr(target, attributeAddress, attributeBuffer.length)
      : calls.llistxattr(procName(target), attributeBuffer, attributeBuffer.length);
  if (length < 0) {
    const errno = koffi.errno();
    if (errno === constants.errno.ENOTSUP) return [];
    throw new LinuxError("listxattr", errno);
  }
  const names: Buffer[] = [];
  if (length === 0) return names;
  for (let at = 0; at < length;) {
    const end = attributeBuffer.indexOf(0, at);
    names.push(Buffer.from(attributeBuffer.subarray(at, end)));
    at = end + 1;
  }
  return names;
}

/** The value of an attribute; undefined when the file has none of that name. */
export function getAttribute(target: AttributeTarget, name: Uint8Array): Buffer | undefined {
  const length =
    typeof target === "number"
      ? calls.fgetxattr(target, cString(name), attributeBuffer, attributeBuffer.length)
      : calls.lgetxattr(procName(target), cString(name, secondName), attributeBuffer, attributeBuffer.length);
  if (length >= 0) return Buffer.from(attributeBuffer.subarray(0, length));
  const errno = koffi.errno();
  if (errno === 61 || errno === constants.errno.ENOTSUP) return undefined;
  throw new LinuxError("getxattr", errno);
}

export function setAttribute(target: AttributeTarget, name: Uint8Array, value: Uint8Array): void {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (typeof target === "number") check("fsetxattr", calls.fsetxattr(target, cString(name), bytes, bytes.length, 0));
  else check("lsetxattr", calls.lsetxattr(procName(target), cString(name, secondName), bytes, bytes.length, 0));
}

export function removeAttribute(target: AttributeTarget, name: Uint8Array): void {
  if (typeof target === "number") check("fremovexattr", calls.fremovexattr(target, cString(name)));
  else check("lremovexattr", calls.lremovexattr(procName(target), cString(name, secondName)));
}
