/**
 * Marks on the pages of an answer. The asker is to keep a page in a place that the source chooses; until that place is
 * given to another page, or the connection ends, the source may refer to it instead of sending an equal page:
 *
 *     u16 how many marks; for each, in the order of the pages: u8 page of the answer, u8 1 keep or 2 equal, u16 place
 *
 * A page that is to be kept may be referred to by later pages of the same answer.
 */
import { FrameError } from "./frame.ts";

export interface PageMark {
  kind: "keep" | "equal";
  /** Which of the kept pages (kept-pages.ts). */
  place: number;
}

export interface MarkedPage extends PageMark {
  /** Counted from the answer's first page. */
  page: number;
}

const kinds = [undefined, "keep", "equal"] as const;
const countBytes = 2;
const markBytes = 4;

export const marksBytes = (marks: number): number => countBytes + marks * markBytes;

/** Answers where they end. */
export function writeMarks(buffer: Buffer, offset: number, marks: readonly MarkedPage[]): number {
  let at = buffer.writeUInt16LE(marks.length, offset);
  for (const { page, kind, place } of marks) {
    at = buffer.writeUInt8(page, at);
    at = buffer.writeUInt8(kinds.indexOf(kind), at);
    at = buffer.writeUInt16LE(place, at);
  }
  return at;
}

/** The marks of an answer with so many pages. Throws FrameError on what is none. */
export function readMarks(payload: Buffer, offset: number, pages: number): MarkedPage[] {
  const count = payload.length < offset + countBytes ? 0 : payload.readUInt16LE(offset);
  if (count === 0 || count > pages || payload.length < offset + marksBytes(count))
    throw new FrameError("an answer's marks are cut short, or more than its pages");
  const marks: MarkedPage[] = [];
  let last = -1;
  for (let at = offset + countBytes; marks.length < count; at += markBytes) {
    const page = payload.readUInt8(at);
    const kind = kinds[payload.readUInt8(at + 1)];
    if (kind === undefined || page <= last || page >= pages) throw new FrameError("an answer has a malformed mark");
    marks.push({ page, kind, place: payload.readUInt16LE(at + 2) });
    last = page;
  }
  return marks;
}
