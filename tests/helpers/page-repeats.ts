/** Both ends of a page connection without the connection: answers as the source makes them, taken in as the pager does. */
import { unpackPayload } from "../../services/shared/adapters/packed-pages.ts";
import { ReceivedPages } from "../../services/pager/core/received-pages.ts";
import { frameHeaderBytes, frameTypes } from "../../services/shared/core/frames/frame.ts";
import {
  bufferBytesOf,
  decodeSpans,
  encodePages,
  pageBytes,
  pageDataOffset,
  type EncodedPages,
} from "../../services/shared/core/frames/page-message.ts";
import { PayloadPool } from "../../services/shared/core/frames/payload-pool.ts";
import { recordHeadBytes } from "../../services/shared/core/frames/record.ts";
import { RepeatedPages } from "../../services/shipper/core/repeated-pages.ts";

const tagBytes = 16;

export interface Carried {
  answer: EncodedPages;
  /** What the pager has in the end. */
  pages: Buffer;
}

export class RepeatsPair {
  readonly #source = new RepeatedPages();
  readonly #pool = new PayloadPool((bytes) => Buffer.from(new SharedArrayBuffer(bytes)));
  readonly #destination = new ReceivedPages(this.#pool, unpackPayload);

  /** Carries one answer with these pages. */
  carry(pages: Buffer): Carried {
    const count = pages.length / pageBytes;
    const buffer = Buffer.alloc(bufferBytesOf(count));
    pages.copy(buffer, pageDataOffset);
    const answer = encodePages(buffer, count, undefined, this.#source);
    return { answer, pages: this.take(answer) };
  }

  /** Has the pager take an answer. Throws FrameError. */
  take({ frame, flags }: Pick<EncodedPages, "frame" | "flags">): Buffer {
    // As the records of a connection are read: with the tag, and with the head of the next.
    const record = this.#pool.take(recordHeadBytes + frame.length + tagBytes + recordHeadBytes);
    frame.copy(record, recordHeadBytes);
    const start = recordHeadBytes + frameHeaderBytes;
    const payload = record.subarray(start, recordHeadBytes + frame.length);
    const opened = this.#destination.open([{ type: frameTypes.pages, flags, channel: 1, payload }], record);
    const [read] = opened.frames;
    if (read === undefined) throw new Error("no frame is left");
    const { memory, kept } = opened;
    const { pages, spans } = decodeSpans(read.payload, flags, read.payload.byteOffset - memory.byteOffset, kept);
    const found = Buffer.alloc(pages * pageBytes);
    for (const { first, pages: many, at } of spans) {
      if (at === "same") throw new Error("nothing is known from before");
      if (at !== "zero") memory.copy(found, first * pageBytes, at, at + many * pageBytes);
    }
    this.#pool.release(memory);
    return found;
  }
}
