/**
 * Frames of the data connection: a 16-byte little-endian header, then the payload.
 *
 *     0 u32 payload length   4 u8 type   5 u8 flags   6 u16 zero   8 u32 channel   12 u32 sequence
 *
 * `channel` is the page request's or the file job's number. `sequence` counts the frames of one direction from 0, so
 * that a lost or repeated frame can't pass unnoticed. Frames travel in records (record.ts). The codec knows no socket.
 */

export const frameHeaderBytes = 16;
/** Most bytes of bulk data in a frame: an urgent frame waits behind little more than this. */
export const maxDataBytes = 256 * 1024;
/** Bulk data and the few fields in front of it. */
export const maxPayloadBytes = maxDataBytes + 1024;

export const frameTypes = {
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

/** Takes the records of one direction apart. */
export class FrameReader {
  #sequence = 0;

  /** The frames of a record, whole ones; their payloads are where they were. Throws FrameError. */
  read(record: Buffer): Frame[] {
    const frames: Frame[] = [];
    for (let at = 0; at < record.length;) {
      if (record.length - at < frameHeaderBytes) throw new FrameError("a record ends within a frame");
      const length = record.readUInt32LE(at);
      const end = at + frameHeaderBytes + length;
      if (length > maxPayloadBytes)
        throw new FrameError(`a frame announces ${length} bytes; ${maxPayloadBytes} are allowed`);
      if (end > record.length) throw new FrameError("a record ends within a frame");
      frames.push({ ...this.#readHeader(record, at), payload: record.subarray(at + frameHeaderBytes, end) });
      at = end;
    }
    return frames;
  }

  #readHeader(record: Buffer, at: number): Omit<Frame, "payload"> {
    const type = record.readUInt8(at + 4);
    if (!knownTypes.has(type)) throw new FrameError(`unknown frame type ${type}`);
    if (record.readUInt16LE(at + 6) !== 0) throw new FrameError("a reserved field of a frame is not zero");
    const sequence = record.readUInt32LE(at + 12);
    if (sequence !== this.#sequence)
      throw new FrameError(`frame ${sequence} arrived where frame ${this.#sequence} was due`);
    this.#sequence = (this.#sequence + 1) >>> 0;
    return { type: type as FrameType, flags: record.readUInt8(at + 5), channel: record.readUInt32LE(at + 8) };
  }
}
