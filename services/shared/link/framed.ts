/**
 * A socket as a duplex of frames. Reading: one handler, called in order; while the promise it returned is open, the
 * socket is not read, so a slow consumer slows its peer and nothing piles up here. Writing: whoever writes looks at
 * `pendingBytes` and goes on from the write's callback.
 */
import type { Duplex } from "node:stream";
import { FrameDecoder, FrameError, writeFrameHeader, type Frame, type FrameType } from "../core/frames/frame.ts";

export interface FramedLink {
  /** Bytes of frames, headers included. */
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

/** Frames up to this size leave together when they are written in one go: one TLS record, one system call. */
const smallBytes = 8 * 1024;

export type FrameHandler = (frame: Frame) => void | Promise<void>;

/** A link whose socket's bytes its owner brings, from a buffer of his own: it may be used again right after. */
export interface FedLink extends FramedLink {
  receive: (chunk: Buffer) => void;
}

/** Takes over a connected socket, its events too. What `onFrame` throws ends the link. */
export function openFramedLink(socket: Duplex, onFrame: FrameHandler): FramedLink {
  const link = openFedLink(socket, onFrame);
  socket.on("data", (chunk: Buffer) => link.receive(chunk));
  return link;
}

/**
 * The same for a socket whose bytes go into one buffer (`onread`), which spares an allocation for each read. `allocate`
 * gives the memory for payloads, when it is not to be new each time.
 */
export function openFedLink(socket: Duplex, onFrame: FrameHandler, allocate?: (bytes: number) => Buffer): FedLink {
  const decoder = new FrameDecoder(allocate);
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
  let busy = false;

  /** Handles what is there until the handler asks for time; answers its promise then. */
  const handleFrames = (): Promise<void> | undefined => {
    for (let frame = decoder.next(); frame !== undefined && open; frame = decoder.next()) {
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
      decoder.feed(next);
    }
  };

  const receive = (chunk: Buffer): void => {
    bytesReceived += chunk.length;
    if (busy) {
      waiting.push(Buffer.from(chunk));
      return;
    }
    decoder.feed(chunk);
    let wait: Promise<void> | undefined;
    try {
      wait = handleFrames();
    } catch (error) {
      fail(asError(error));
    }
    if (wait === undefined) return;
    decoder.keep();
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
    if (!decoder.idle) fail(new FrameError("the connection ended within a frame"));
    else if (!closing) fail(new Error("the peer closed the connection"));
  });
  socket.on("close", () => {
    open = false;
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
      bytesSent += frame.length;
      if (frame.length <= smallBytes && !corked) {
        corked = true;
        socket.cork();
        process.nextTick(() => {
          corked = false;
          socket.uncork();
        });
      }
      socket.write(frame, onWritten);
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
