/**
 * Dense answers of one connection, made plain. A packed one is unpacked; pages that the source has this side keep are kept, and a
 * copy of one that is referred to is put behind the answer, in the same memory: whoever takes the answer need not know.
 */
import { FrameError, frameTypes, type Frame } from "../../shared/core/frames/frame.ts";
import { KeptPages } from "../../shared/core/frames/kept-pages.ts";
import { pageBytes, pageFlags, type PagesKept } from "../../shared/core/frames/page-message.ts";
import { recordRoomBytes, type PayloadPool } from "../../shared/core/frames/payload-pool.ts";

export interface OpenRecord {
  frames: readonly Frame[];
  /** What the payloads are in. */
  memory: Buffer;
  /** For an answer with marks. */
  kept?: PagesKept;
}

export class ReceivedPages {
  readonly #kept = new KeptPages();
  readonly #pool: PayloadPool;
  readonly #unpack: (payload: Buffer) => Buffer;

  /** `pool` is what records are read into; `unpack` gives a packed payload as it was, or throws FrameError. */
  constructor(pool: PayloadPool, unpack: (payload: Buffer) => Buffer) {
    this.#pool = pool;
    this.#unpack = unpack;
  }

  /** The frames of a record, which is moved where there is room, if they need any. Throws FrameError. */
  open(frames: readonly Frame[], record: Buffer): OpenRecord {
    if (frames.some(isPacked)) return this.#openPacked(frames, record);
    if (!frames.some(isMarked)) return { frames, memory: record };
    let memory = this.#pool.wholeOf(record);
    if (memory === undefined) {
      memory = this.#pool.take(recordRoomBytes);
      record.copy(memory);
    }
    return {
      frames: frames.map((frame) => inMemory(memory, record, frame)),
      memory,
      kept: this.#behind(record.length, memory),
    };
  }

  /** Its flags stay: they say how it came. */
  #openPacked([frame, ...others]: readonly Frame[], record: Buffer): OpenRecord {
    if (frame === undefined || others.length > 0)
      throw new FrameError("the source put a compressed answer and other frames into one record");
    const payload = this.#unpack(frame.payload);
    // In place of what was unpacked, if that is large enough.
    const memory = this.#pool.wholeOf(record) ?? this.#pool.take(recordRoomBytes);
    payload.copy(memory);
    return {
      frames: [{ ...frame, payload: memory.subarray(0, payload.length) }],
      memory,
      kept: this.#behind(payload.length, memory),
    };
  }

  #behind(start: number, memory: Buffer): PagesKept {
    let end = start;
    return {
      keep: (place, payload, offset) => this.#kept.keep(place, payload, offset),
      put: (place) => {
        const at = end;
        if (at + pageBytes > memory.length) throw new FrameError("an answer refers to more pages than it may have");
        this.#kept.copy(place, memory, at);
        end += pageBytes;
        return at;
      },
    };
  }
}

const isMarked = ({ type, flags }: Frame): boolean => type === frameTypes.pages && (flags & pageFlags.marked) !== 0;
const isPacked = ({ type, flags }: Frame): boolean => type === frameTypes.pages && (flags & pageFlags.packed) !== 0;

function inMemory(memory: Buffer, record: Buffer, frame: Frame): Frame {
  const at = frame.payload.byteOffset - record.byteOffset;
  return { ...frame, payload: memory.subarray(at, at + frame.payload.length) };
}
