/**
 * A connection as a duplex of frames, on Node's event loop. Reading: one handler, called in order; while the promise it
 * returned is open, the socket is not read, so a slow consumer slows its peer and nothing piles up here. Writing: whoever
 * writes looks at `pendingBytes` and goes on from the write's callback.
 */
import type { Duplex } from "node:stream";
import koffi from "koffi";
import { putIn } from "../adapters/socket-handover.ts";
import { FrameError, FrameReader, writeFrameHeader, type Frame, type FrameType } from "../core/frames/frame.ts";
import { PayloadPool } from "../core/frames/payload-pool.ts";
import { recordHeadBytes } from "../core/frames/record.ts";
import { ciphersOf, type Ciphers, type Connection } from "./connection.ts";
import { RecordReader } from "./record-reader.ts";

export interface FramedLink {
  /** Bytes of records, heads and tags included. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Bytes written that the system has not taken yet. */
  readonly pendingBytes: number;
  readonly open: boolean;
  /** Settles, never rejects, when the link is gone: with the reason, or undefined after `close`. */
  readonly closed: Promise<Error | undefined>;
  /**
   * Writes a frame out of a buffer from `allocateFrame`; the buffer is the link's until `onWritten`. Nothing happens on
   * a link that is gone.
   */
  write(type: FrameType, channel: number, frame: Buffer, options?: { flags?: number; onWritten?: () => void }): void;
  /** Ends the link, after what was written has left, or at once with an error. */
  close(error?: Error): void;
}

/** Frames up to this size leave together when they are written in one go: one system call. */
const smallBytes = 8 * 1024;
/** What the system may hand over at once. */
const readBytes = 256 * 1024;

export type FrameHandler = (frame: Frame) => void | Promise<void>;

export interface FramedLinkOptions {
  onFrame: FrameHandler;
  /** Gives the memory for records, when it is not to be new each time; a frame's payload is a part of it. */
  allocate?: (bytes: number) => Buffer;
}

/** Takes over a connection, unless it throws: when that is gone. What `onFrame` throws ends the link. */
export function openConnection(connection: Connection, options: FramedLinkOptions): FramedLink {
  const fed: { link?: FedLink } = {};
  // One buffer for all reads, which spares an allocation for each.
  const onread = {
    buffer: Buffer.alloc(readBytes),
    callback: (length: number, { buffer, byteOffset }: Uint8Array): boolean => {
      fed.link?.receive(Buffer.from(buffer, byteOffset, length));
      return true;
    },
  };
  const link = openFedLink(putIn(connection, onread), ciphersOf(connection), options);
  fed.link = link;
  // Not before whoever opens it has it.
  if (connection.ahead.length > 0) queueMicrotask(() => link.receive(Buffer.from(connection.ahead)));
  return link;
}

/** Takes over a connected socket, its events too. What `onFrame` throws ends the link. */
export function openFramedLink(socket: Duplex, ciphers: Ciphers, onFrame: FrameHandler): FramedLink {
  const link = openFedLink(socket, ciphers, { onFrame });
  socket.on("data", (chunk: Buffer) => link.receive(chunk));
  return link;
}

/** A link whose socket's bytes its owner brings, from a buffer of his own: it may be used again right after. */
interface FedLink extends FramedLink {
  receive: (chunk: Buffer) => void;
}

function openFedLink(socket: Duplex, ciphers: Ciphers, { onFrame, allocate }: FramedLinkOptions): FedLink {
  const records = new RecordReader(ciphers.receive, allocate ?? ((bytes) => Buffer.allocUnsafeSlow(bytes)));
  const reader = new FrameReader();
  const sealed = new PayloadPool();
  let bytesSent = 0;
  let bytesReceived = 0;
  let sequence = 0;
  let corked = false;
  let open = true;
  let closing = false;
  let reason: Error | undefined;
  const { promise: closed, resolve } = Promise.withResolvers<Error | undefined>();

  const fail = (error: Error): void => {
    reason ??= error;
    open = false;
    socket.destroy();
  };

  /** Bytes that came while the handler was busy: what the system had handed over before it stopped. */
  const waiting: Buffer[] = [];
  /** Of a record; a payload that does not have its record to itself is a copy. */
  let frames: Frame[] = [];
  let busy = false;

  const nextFrame = (): Frame | undefined => {
    while (frames.length === 0) {
      const record = records.next();
      if (record === undefined) return undefined;
      const read = reader.read(record);
      frames = read.length === 1 ? read : read.map((frame) => ({ ...frame, payload: Buffer.from(frame.payload) }));
    }
    return frames.shift();
  };

  /** Handles what is there until the handler asks for time; answers its promise then. */
  const handleFrames = (): Promise<void> | undefined => {
    for (let frame = nextFrame(); frame !== undefined && open; frame = nextFrame()) {
      const wait = onFrame(frame);
      if (wait !== undefined) return wait;
    }
    return undefined;
  };

  const handleSlowly = async (first: Promise<void>): Promise<void> => {
    await first;
    for (;;) {
      for (let wait = handleFrames(); wait !== undefined; wait = handleFrames()) await wait;
      const next = waiting.shift();
      if (next === undefined || !open) return;
      records.feed(next);
    }
  };

  const receive = (chunk: Buffer): void => {
    bytesReceived += chunk.length;
    if (busy) {
      waiting.push(Buffer.from(chunk));
      return;
    }
    if (!open) return;
    records.feed(chunk);
    let wait: Promise<void> | undefined;
    try {
      wait = handleFrames();
    } catch (error) {
      fail(asError(error));
    }
    if (wait === undefined) return;
    records.keep();
    busy = true;
    socket.pause();
    handleSlowly(wait).then(
      () => {
        busy = false;
        socket.resume();
      },
      (error: unknown) => fail(asError(error)),
    );
  };

  socket.on("error", (error: Error) => fail(error));
  socket.on("end", () => {
    if (!records.idle) fail(new FrameError("the connection ended within a record"));
    else if (!closing) fail(new Error("the peer closed the connection"));
  });
  socket.on("close", () => {
    open = false;
    ciphers.send.close();
    ciphers.receive.close();
    resolve(reason ?? (closing ? undefined : new Error("the connection was lost")));
  });

  return {
    get bytesSent() {
      return bytesSent;
    },
    get bytesReceived() {
      return bytesReceived;
    },
    get pendingBytes() {
      return socket.writableLength;
    },
    get open() {
      return open;
    },
    closed,
    receive,
    write(type, channel, frame, { flags = 0, onWritten } = {}) {
      if (!open) return;
      writeFrameHeader(frame, { type, flags, channel }, sequence);
      sequence = (sequence + 1) >>> 0;
      // The frame itself stays as it is: it may have to be sent again by another link.
      const record = sealed.take(recordHeadBytes + frame.length + ciphers.send.tagBytes);
      record.writeUInt32LE(frame.length);
      ciphers.send.seal(koffi.address(record), frame.length, koffi.address(frame));
      bytesSent += record.length;
      if (frame.length <= smallBytes && !corked) {
        corked = true;
        socket.cork();
        process.nextTick(() => {
          corked = false;
          socket.uncork();
        });
      }
      socket.write(record, () => {
        sealed.release(record);
        onWritten?.();
      });
    },
    close(error) {
      closing = true;
      if (error !== undefined) {
        fail(error);
        return;
      }
      open = false;
      socket.end();
      // A peer that does not end its side is not waited for.
      setTimeout(() => socket.destroy(), 1_000).unref();
    },
  };
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));
