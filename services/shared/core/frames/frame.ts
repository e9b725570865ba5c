/**
 * Frames of the data connection: a 16-byte little-endian header, then the payload.
 *
 *     0 u32 payload length   4 u8 type   5 u8 flags   6 u16 zero   8 u32 channel   12 u32 sequence
 *
 * `channel` is the page request's or the file job's number. `sequence` counts the frames of one direction from 0, so
 * that a lost or repeated frame can't pass unnoticed. The codec knows no socket; nothing beyond `maxPayloadBytes` is
 * ever allocated for a peer.
 */

export const frameHeaderBytes = 16;
/** Most bytes of bulk data in a frame: an urgent frame waits behind little more than this. */
export const maxDataBytes = 256 * 1024;
/** Bulk data and the few fields in front of it. */
export const maxPayloadBytes = maxDataBytes + 1024;

export const frameTypes = {
  hello: 1,
  welcome: 2,
  pageRequest: 16,
  pages: 17,
  pageError: 18,
  memoryMap: 19,
  jobBegin: 32,
  jobData: 33,
  jobEnd: 34,
  jobDone: 35,
  jobFailed: 36,
  jobCancel: 37,
  jobAck: 38,
  jobState: 39,
} as const;
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

const knownTypes: ReadonlySet<number> = new Set(Object.values(frameTypes));

export interface Frame {
  type: FrameType;
  flags: number;
  channel: number;
  payload: Buffer;
}

/** The peer does not speak our protocol: the connection can't go on. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** A frame to be: `frameHeaderBytes` of room for the header, then `payloadBytes`, not cleared. */
export function allocateFrame(payloadBytes: number): Buffer {
  return Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);
}

/** A frame whose payload is a copy of `payload`; for small ones. */
export function frameOf(payload: Uint8Array): Buffer {
  const frame = allocateFrame(payload.length);
  frame.set(payload, frameHeaderBytes);
  return frame;
}

/** Writes the header into the room that `allocateFrame` left. */
export function writeFrameHeader(
  frame: Buffer,
  { type, flags, channel }: Pick<Frame, "type" | "flags" | "channel">,
  sequence: number,
): void {
  const length = frame.length - frameHeaderBytes;
  if (length < 0 || length > maxPayloadBytes) throw new FrameError(`a payload of ${length} bytes does not fit a frame`);
  frame.writeUInt32LE(length, 0);
  frame[4] = type;
  frame[5] = flags;
  frame.writeUInt16LE(0, 6);
  frame.writeUInt32LE(channel, 8);
  frame.writeUInt32LE(sequence, 12);
}

/** Cuts one direction's bytes into frames, however they were split on the way: feed, then next until there is none. */
export class FrameDecoder {
  readonly #header = Buffer.alloc(frameHeaderBytes);
  #headerFilled = 0;
  #frame: Frame | undefined;
  #payloadFilled = 0;
  #sequence = 0;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  readonly #allocate: (bytes: number) => Buffer;

  /** `allocate` gives the memory for payloads: of just that length, and at most `maxPayloadBytes`. */
  constructor(allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes)) {
    this.#allocate = allocate;
  }

  /** Gives more bytes, once the last were used up. They must stay as they are until then, or until `keep`. */
  feed(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Copies what is left of the bytes given, so that their buffer may be used again. */
  keep(): void {
    this.#chunk = Buffer.from(this.#chunk.subarray(this.#at));
    this.#at = 0;
  }

  /** The next whole frame, its payload the caller's own; undefined when more bytes are needed. Throws FrameError. */
  next(): Frame | undefined {
    if (this.#frame === undefined) {
      this.#headerFilled += this.#take(this.#header, this.#headerFilled);
      if (this.#headerFilled < frameHeaderBytes) return undefined;
      this.#frame = this.#readHeader();
      this.#headerFilled = 0;
      this.#payloadFilled = 0;
    }
    const frame = this.#frame;
    this.#payloadFilled += this.#take(frame.payload, this.#payloadFilled);
    if (this.#payloadFilled < frame.payload.length) return undefined;
    this.#frame = undefined;
    return frame;
  }

  #take(target: Buffer, filled: number): number {
    const taken = this.#chunk.copy(target, filled, this.#at);
    this.#at += taken;
    return taken;
  }

  /** True between frames: a connection that ends elsewhere was cut. */
  get idle(): boolean {
    return this.#frame === undefined && this.#headerFilled === 0;
  }

  #readHeader(): Frame {
    const header = this.#header;
    const length = header.readUInt32LE(0);
    if (length > maxPayloadBytes)
      throw new FrameError(`a frame announces ${length} bytes; ${maxPayloadBytes} are allowed`);
    const type = header.readUInt8(4);
    if (!knownTypes.has(type)) throw new FrameError(`unknown frame type ${type}`);
    if (header.readUInt16LE(6) !== 0) throw new FrameError("a reserved field of a frame is not zero");
    const sequence = header.readUInt32LE(12);
    if (sequence !== this.#sequence)
      throw new FrameError(`frame ${sequence} arrived where frame ${this.#sequence} was due`);
    this.#sequence = (this.#sequence + 1) >>> 0;
    return {
      type: type as FrameType,
      flags: header.readUInt8(5),
      channel: header.readUInt32LE(8),
      payload: this.#allocate(length),
    };
  }
}
