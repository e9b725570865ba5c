/**
 * Pages that the source has this side keep, for answers that refer to them: of one connection. A copy of what is referred
 * to is put behind the answer, in the same memory, so that whoever takes the answer need not know.
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

  /** `pool` is what records are read into. */
  constructor(pool: PayloadPool) {
    this.#pool = pool;
  }

  /** The frames of a record, which is moved where there is room, if they need any. */
  open(frames: readonly Frame[], record: Buffer): OpenRecord {
    if (!frames.some(isMarked)) return { frames, memory: record };
    let memory = this.#pool.wholeOf(record);
    if (memory === undefined) {
      memory = this.#pool.take(recordRoomBytes);
      record.copy(memory);
    }
    return {
      frames: frames.map((frame) => inMemory(memory, record, frame)),
      memory,
      kept: this.#behind(record, memory),
    };
  }

  #behind(record: Buffer, memory: Buffer): PagesKept {
    let end = record.length;
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

function inMemory(memory: Buffer, record: Buffer, frame: Frame): Frame {
  const at = frame.payload.byteOffset - record.byteOffset;
  return { ...frame, payload: memory.subarray(at, at + frame.payload.length) };
}
