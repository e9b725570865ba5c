/**
 * A data connection for a thread that waits in poll(2) instead of Node's event loop. No call waits: what the system has no
 * room for is kept, and leaves with a later `flush`; a record that has not come whole is gone on with later.
 */
import koffi from "koffi";
import { receive, send } from "../adapters/raw-socket.ts";
import { FrameError, FrameReader, writeFrameHeader, type Frame, type FrameType } from "../core/frames/frame.ts";
import { recordRoomBytes } from "../core/frames/payload-pool.ts";
import { recordBytesOf, recordHeadBytes } from "../core/frames/record.ts";
import { ciphersOf, type Ciphers, type Connection } from "./connection.ts";

/** What is read at once where a record begins: a page and all around it, so that a small record takes one call. */
const beginBytes = 4096 + 256;
/** Records that are ready to leave: one of the largest, or many small ones. */
const outBytes = 2 * recordRoomBytes;

/** The connection is gone. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** Gives memory for a record, of at least so many bytes, at an address that stays. */
export type AllocateRecord = (bytes: number) => Buffer;

export class RecordSocket {
  readonly fd: number;
  readonly #ciphers: Ciphers;
  readonly #allocate: AllocateRecord;
  readonly #reader = new FrameReader();
  readonly #out = Buffer.allocUnsafeSlow(outBytes);
  readonly #outAddress = koffi.address(this.#out);
  #outStart = 0;
  #outEnd = 0;
  #sequence = 0;
  /** What has come and was not looked at: with the connection, or behind the head of a record. */
  #ahead: Uint8Array;
  readonly #begun = Buffer.allocUnsafeSlow(beginBytes);
  readonly #begunAddress = koffi.address(this.#begun);
  /** The last call brought less than there was room for: the next one would bring nothing. */
  #isDry = false;
  readonly #head = Buffer.alloc(recordHeadBytes);
  #headFilled = 0;
  #record: Buffer | undefined;
  #recordAddress = 0n;
  #filled = 0;
  #closed = false;
  /** Bytes of records, heads and tags included. */
  bytesSent = 0;
  bytesReceived = 0;

  /** The descriptor stays its owner's to close. `allocate` gives the memory that frames are read into. */
  constructor(connection: Connection, allocate: AllocateRecord) {
    this.fd = connection.fd;
    this.#ahead = connection.ahead;
    this.#ciphers = ciphersOf(connection);
    this.#allocate = allocate;
  }

  /** Something waits for the system to have room. */
  get isWriting(): boolean {
    return this.#outStart < this.#outEnd;
  }

  /** There is more to read of what has come: the system does not tell of that. */
  get hasAhead(): boolean {
    return this.#ahead.length > 0;
  }

  /** Whether a frame of so many bytes can be written now. */
  hasRoom(frameBytes: number): boolean {
    return this.#outEnd + recordHeadBytes + frameBytes + this.#ciphers.send.tagBytes <= outBytes;
  }

  /**
   * Puts a frame out of a buffer from `allocateFrame` behind what waits; it may be used again at once. Throws when there
   * is no room.
   */
  write(type: FrameType, channel: number, frame: Buffer, flags = 0): void {
    // What is sealed is written by address: nothing else would keep it within bounds.
    if (!this.hasRoom(frame.length)) throw new Error(`no room for a frame of ${frame.length} bytes`);
    writeFrameHeader(frame, { type, flags, channel }, this.#sequence);
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#out.writeUInt32LE(frame.length, this.#outEnd);
    const { send: cipher } = this.#ciphers;
    cipher.seal(this.#outAddress + BigInt(this.#outEnd), frame.length, koffi.address(frame));
    const bytes = recordHeadBytes + frame.length + cipher.tagBytes;
    this.#outEnd += bytes;
    this.bytesSent += bytes;
  }

  /** Gives the system what it has room for. Throws ConnectionLost. */
  flush(): void {
    while (this.isWriting) {
      const taken = this.#losing(() =>
        send(this.fd, this.#outAddress + BigInt(this.#outStart), this.#outEnd - this.#outStart),
      );
      if (taken === 0) return;
      this.#outStart += taken;
    }
    this.#outStart = 0;
    this.#outEnd = 0;
  }

  /**
   * The frames of the next record that has come whole, and the memory from `allocate` that their payloads are in; the
   * caller's own. Undefined when there is none; a next call asks the system anew. Throws ConnectionLost, and FrameError on what no peer of ours sends.
   */
  read(): { frames: Frame[]; memory: Buffer } | undefined {
    for (;;) {
      if (this.#record === undefined) {
        if (this.#headFilled < recordHeadBytes) {
          if (this.#ahead.length === 0 && !this.#receiveBegin()) return undefined;
          this.#headFilled += this.#takeAhead(this.#head, this.#headFilled, recordHeadBytes - this.#headFilled);
          continue;
        }
        this.#begin();
      }
      const record = this.#record;
      if (record === undefined) continue;
      const bytes = recordBytesOf(record);
      const end = recordHeadBytes + bytes + this.#ciphers.receive.tagBytes;
      if (this.#filled >= end) return this.#finish(record, bytes, end);
      // With the head of the next record, so that a record takes one call.
      const wanted = end + recordHeadBytes - this.#filled;
      const came = this.#receive(record, this.#filled, this.#recordAddress + BigInt(this.#filled), wanted);
      if (came === 0) return undefined;
      this.#filled += came;
    }
  }

  /** Frees what it takes; the descriptor is its owner's. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ciphers.send.close();
    this.#ciphers.receive.close();
  }

  #begin(): void {
    const bytes = recordBytesOf(this.#head);
    const record = this.#allocate(recordHeadBytes + bytes + this.#ciphers.receive.tagBytes + recordHeadBytes);
    this.#head.copy(record);
    this.#record = record;
    this.#recordAddress = koffi.address(record);
    this.#filled = recordHeadBytes;
    this.#headFilled = 0;
  }

  #finish(record: Buffer, bytes: number, end: number): { frames: Frame[]; memory: Buffer } {
    this.#headFilled = record.copy(this.#head, 0, end, this.#filled);
    this.#record = undefined;
    if (!this.#ciphers.receive.open(this.#recordAddress, bytes))
      throw new FrameError("a record was changed on its way");
    return { frames: this.#reader.read(record.subarray(recordHeadBytes, recordHeadBytes + bytes)), memory: record };
  }

  /** The begin of a record, and perhaps more; false when nothing has come. */
  #receiveBegin(): boolean {
    if (this.#isDry) {
      this.#isDry = false;
      return false;
    }
    this.#ahead = this.#begun.subarray(0, this.#system(this.#begunAddress, beginBytes));
    return this.#ahead.length > 0;
  }

  #receive(target: Buffer, at: number, address: bigint, most: number): number {
    if (this.#ahead.length > 0) return this.#takeAhead(target, at, most);
    const came = this.#system(address, most);
    this.bytesReceived += came;
    return came;
  }

  #takeAhead(target: Buffer, at: number, most: number): number {
    const part = this.#ahead.subarray(0, most);
    target.set(part, at);
    this.#ahead = this.#ahead.subarray(part.length);
    this.bytesReceived += part.length;
    return part.length;
  }

  #system(address: bigint, most: number): number {
    const came = this.#losing(() => receive(this.fd, address, most));
    if (came === undefined) throw new ConnectionLost("the peer closed the connection");
    this.#isDry = came > 0 && came < most;
    return came;
  }

  #losing<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw new ConnectionLost(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }
}
