/**
 * Reads parts of files that are likely in memory. What is there is read at once, since handing a read to a thread and
 * waiting for it costs more where processors are busy; what is not is left to a thread, so that a disk holds nobody up.
 */
import { read, statfsSync } from "node:fs";
import { constants } from "node:os";
import koffi from "koffi";
import { readTo } from "../../shared/adapters/calls-by-address.ts";
import { addressOf } from "../../shared/adapters/fixed-memory.ts";
import { descriptorPath, LinuxError } from "../../shared/adapters/linux.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const preadv2: Call = libc.func("int64_t preadv2(int, const void *, int, int64_t, int)");
const { EAGAIN, EOPNOTSUPP } = constants.errno;

/** preadv2(2): only what needs no waiting. */
const withoutWaiting = 8;
/** These have all their files in memory, and no such reads. */
const memoryFileSystems = new Set([0x01021994, 0x858458f6]);

export class CachedReader {
  /** What is read is here. */
  readonly room: Buffer;
  readonly #address: number;
  readonly #vector = Buffer.alloc(16);

  constructor(roomBytes: number) {
    const room = Buffer.allocUnsafeSlow(roomBytes);
    this.room = room;
    this.#address = addressOf(room);
  }

  /** Reads up to `length` bytes at `offset` of a file into the begin of `room`; answers how many there were, none at its end. */
  read(fd: number, offset: number, length: number): number | Promise<number> {
    const most = Math.min(length, this.room.length);
    this.#vector.writeBigUInt64LE(BigInt(this.#address), 0);
    this.#vector.writeBigUInt64LE(BigInt(most), 8);
    const bytes = preadv2(fd, this.#vector, 1, offset, withoutWaiting);
    if (bytes > 0) return bytes;
    const errno = bytes < 0 ? koffi.errno() : EAGAIN;
    if (errno !== EAGAIN && errno !== EOPNOTSUPP) throw new LinuxError("preadv2", errno);
    if (errno === EOPNOTSUPP && memoryFileSystems.has(statfsSync(descriptorPath(fd)).type))
      return readTo(fd, this.#address, most, offset);
    return readAside(fd, this.room, most, offset);
  }
}

function readAside(fd: number, room: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, room, 0, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
