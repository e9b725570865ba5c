/**
 * `lazy-pages.socket`: over it CRIU's restore hands out a userfaultfd for each process that it restores.
 *
 *     for each process   i32 pid (negative: a zombie, which has none), then one byte that carries the descriptor
 *     at the end         u32 "RSTF": every process is restored, and is about to run
 *
 * Node can neither receive descriptors nor leave a socket's bytes unread, hence the system calls.
 */
import { closeSync, rmSync } from "node:fs";
import { constants } from "node:os";
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import { checkCall } from "./check-call.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => number;
const declare = (prototype: string): Call => libc.func(prototype);
const socket = declare("int socket(int, int, int)");
const bind = declare("int bind(int, const void *, uint32_t)");
const listen = declare("int listen(int, int)");
const accept4 = declare("int accept4(int, void *, void *, int)");
const recvmsg = declare("int64_t recvmsg(int, void *, int)");

const unixFamily = 1;
const streamType = 1;
const nonBlock = 0o4000;
const closeOnExec = 0o2000000;
/** MSG_CMSG_CLOEXEC: no child may hold on to a descriptor. */
const receiveCloseOnExec = 0x40000000;
const finishedWord = 0x52535446;
const socketName = "lazy-pages.socket";

export type RestoreMessage =
  | { kind: "process"; pid: number; fd: number }
  | { kind: "finished" }
  /** The restore's end of the connection is closed. */
  | { kind: "closed" };

/** Where a restore comes and hands out what it restores. */
export interface RestoreEnd {
  /** Listens until a restore is there, then undefined: its number may by then be another file's. */
  readonly listener: number | undefined;
  /** The connection of the restore, from `accept` to `closeConnection`. */
  readonly connection: number | undefined;
  /** Takes the restore's connection, if there is one. One is taken; no other will be. */
  accept(): boolean;
  /** The next message, or undefined when there is no whole one yet. Throws LinuxError, or Error on what CRIU never says. */
  next(): RestoreMessage | undefined;
  closeListener(): void;
  closeConnection(): void;
}

export class RestoreSocket implements RestoreEnd {
  #listener: number | undefined;
  #connection: number | undefined;
  #pid: number | undefined;

  /** Listens in the current directory, since a path to it may be too long for a socket. Throws LinuxError. */
  constructor() {
    rmSync(socketName, { force: true });
    const listener = checkCall("socket", socket(unixFamily, streamType | nonBlock | closeOnExec, 0));
    this.#listener = listener;
    const address = Buffer.alloc(2 + socketName.length + 1);
    address.writeUInt16LE(unixFamily, 0);
    address.write(socketName, 2);
    checkCall("bind", bind(listener, address, address.length));
    checkCall("listen", listen(listener, 1));
  }

  get listener(): number | undefined {
    return this.#listener;
  }

  get connection(): number | undefined {
    return this.#connection;
  }

  accept(): boolean {
    const fd = accept4(this.#listener, null, null, nonBlock | closeOnExec);
    if (fd < 0) return false;
    this.#connection = fd;
    return true;
  }

  next(): RestoreMessage | undefined {
    if (this.#pid === undefined) {
      const bytes = this.#receive(4);
      if (bytes === undefined) return undefined;
      if (bytes.data.length === 0) return { kind: "closed" };
      if (bytes.data.length !== 4) throw new Error("CRIU's restore sent half a word");
      const word = bytes.data.readUInt32LE(0);
      if (word === finishedWord) return { kind: "finished" };
      const pid = bytes.data.readInt32LE(0);
      if (pid < 0) return this.next();
      this.#pid = pid;
    }
    const bytes = this.#receive(1);
    if (bytes === undefined) return undefined;
    if (bytes.fd === undefined) throw new Error(`CRIU's restore sent no userfaultfd for process ${this.#pid}`);
    const pid = this.#pid;
    this.#pid = undefined;
    return { kind: "process", pid, fd: bytes.fd };
  }

  closeListener(): void {
    if (this.#listener === undefined) return;
    closeSync(this.#listener);
    this.#listener = undefined;
    rmSync(socketName, { force: true });
  }

  closeConnection(): void {
    if (this.#connection === undefined) return;
    closeSync(this.#connection);
    this.#connection = undefined;
  }

  #receive(most: number): { data: Buffer; fd: number | undefined } | undefined {
    const data = Buffer.alloc(most);
    const vector = Buffer.alloc(16);
    vector.writeBigUInt64LE(koffi.address(data), 0);
    vector.writeBigUInt64LE(BigInt(most), 8);
    // Room for one descriptor; the kernel closes what does not fit.
    const ancillary = Buffer.alloc(24);
    const header = Buffer.alloc(56);
    header.writeBigUInt64LE(koffi.address(vector), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(koffi.address(ancillary), 32);
    header.writeBigUInt64LE(BigInt(ancillary.length), 40);
    const count = recvmsg(this.#connection, header, receiveCloseOnExec);
    if (count < 0) {
      const errno = koffi.errno();
      if (errno === constants.errno.EAGAIN) return undefined;
      throw new LinuxError("recvmsg", errno);
    }
    const hasDescriptor = header.readBigUInt64LE(40) >= 20n;
    return { data: data.subarray(0, count), fd: hasDescriptor ? ancillary.readInt32LE(16) : undefined };
  }
}
