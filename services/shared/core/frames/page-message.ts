/**
 * Payloads of the `pages` connection. The frame's channel is the number of the request.
 *
 *     pageRequest  u64 vaddr, u32 pid, u32 pages, u8 priority, u8 whether earlier contents are known, u8 whether the answer
 *                  may be dense, 5 zero bytes
 *     pages        u32 pages, then, unless all are zero: by the frame's flags a bitmap of the zero pages, and one of those
 *                  that are as they were sent before, one bit a page each, and marks (page-marks.ts); then the contents of
 *                  all pages that are neither zero, nor as before, nor equal to one that is kept. Dense answers may have
 *                  marks, or zstd around all of this (adapters/packed-pages.ts)
 *     pageError    UTF-8 text; a flag says whether asking again later may help
 */
import { allocateFrame, FrameError, frameHeaderBytes, frameOf, maxDataBytes } from "./frame.ts";
import { marksBytes, readMarks, writeMarks, type MarkedPage, type PageMark } from "./page-marks.ts";

export const pageBytes = 4096;
/** Most pages in one answer that carries data, and in one that says they are zero. */
export const maxDataPages = maxDataBytes / pageBytes;
export const maxZeroPages = 4096;

/**
 * Of a `pages` frame. `someSame` answers only a request that says that earlier contents are known; `provisional`: read
 * while the container ran, so to be confirmed before use; `marked` and `packed` answer only a request for a dense answer.
 */
export const pageFlags = { allZero: 1, someZero: 2, someSame: 4, provisional: 8, marked: 16, packed: 32 } as const;
/** Those that `decodeSpans` knows: it takes an answer once it is unpacked. */
const knownFlags = 31;
/** Of a pageError: the memory is not open, but may be soon. Without it the pages are lost. */
export const pageErrorFlags = { notYet: 1 } as const;

export interface PageRequest {
  pid: number;
  /** First address, a multiple of the page size. */
  vaddr: bigint;
  pages: number;
  priority: 0 | 2 | 3;
  /** The asker holds what was sent of these pages while the container ran: pages that are the same need not travel. */
  known: boolean;
  /** The asker keeps pages that it is told to, so that equal ones need not travel, and unpacks what is packed. */
  dense: boolean;
}

const requestBytes = 24;

export function encodePageRequest({ pid, vaddr, pages, priority, known, dense }: PageRequest): Buffer {
  const frame = allocateFrame(requestBytes).fill(0, frameHeaderBytes);
  frame.writeBigUInt64LE(vaddr, frameHeaderBytes);
  frame.writeUInt32LE(pid, frameHeaderBytes + 8);
  frame.writeUInt32LE(pages, frameHeaderBytes + 12);
  frame[frameHeaderBytes + 16] = priority;
  frame[frameHeaderBytes + 17] = known ? 1 : 0;
  frame[frameHeaderBytes + 18] = dense ? 1 : 0;
  return frame;
}

export function decodePageRequest(payload: Buffer): PageRequest {
  if (payload.length !== requestBytes) throw new FrameError(`a page request has ${requestBytes} bytes`);
  const vaddr = payload.readBigUInt64LE(0);
  const pages = payload.readUInt32LE(12);
  const priority = payload.readUInt8(16);
  if (vaddr % BigInt(pageBytes) !== 0n || vaddr >= 1n << 63n)
    throw new FrameError("a page request's address is not the start of a page");
  if (pages === 0) throw new FrameError("a page request asks for no page");
  if (priority !== 0 && priority !== 2 && priority !== 3)
    throw new FrameError(`a page request has priority ${priority}`);
  const [known, dense] = [payload.readUInt8(17) === 1, payload.readUInt8(18) === 1];
  return { pid: payload.readUInt32LE(8), vaddr, pages, priority, known, dense };
}

const zeroPage = Buffer.alloc(pageBytes);

/** Whether the page at `offset` is all zero. Nearly every other page shows it in its first words. */
export function isZeroPage(bytes: Buffer, offset: number): boolean {
  if (bytes[offset] !== 0 || bytes[offset + 8] !== 0 || bytes[offset + 2048] !== 0) return false;
  return bytes.compare(zeroPage, 0, pageBytes, offset, offset + pageBytes) === 0;
}

const bitmapBytes = (pages: number): number => Math.ceil(pages / 8);
/** Bytes in front of the page data where the answer is made: the header, the count, and room for two bitmaps and the marks. */
const mostFieldBytes = frameHeaderBytes + 4 + 2 * bitmapBytes(maxDataPages) + marksBytes(maxDataPages);
export const pageDataOffset = Math.ceil(mostFieldBytes / 8) * 8;

/** Of a buffer in which an answer of up to `pages` pages is made: read the pages to `pageDataOffset`. */
export const bufferBytesOf = (pages: number): number => pageDataOffset + pages * pageBytes;

export interface EncodedPages {
  frame: Buffer;
  flags: number;
  pages: number;
  zeroPages: number;
  /** That are told by the place of an equal one. */
  equalPages: number;
}

/** Which pages were sent before over the same connection. */
export interface PageRepeats {
  /** Whether an answer of so many pages is worth looking at; its pages are all in `buffer`, whose memory is aligned to 4. */
  begin: (buffer: Buffer, pages: number) => boolean;
  /** What is to be said of the page at `offset`, a multiple of 4: it is said, or both ends differ from then on. */
  look: (buffer: Buffer, offset: number) => PageMark | undefined;
}

export function encodeZeroPages(pages: number): EncodedPages {
  const frame = allocateFrame(4);
  frame.writeUInt32LE(pages, frameHeaderBytes);
  return { frame, flags: pageFlags.allZero, pages, zeroPages: pages, equalPages: 0 };
}

/**
 * Makes the answer out of `pages` pages that were read into `buffer` at `pageDataOffset`. What it is made of stands in
 * that buffer until it has left. `same` says which pages need not travel, `repeats` finds those that did already.
 */
export function encodePages(
  buffer: Buffer,
  pages: number,
  same?: readonly boolean[],
  repeats?: PageRepeats,
): EncodedPages {
  const zeroBits = Buffer.alloc(bitmapBytes(pages));
  const sameBits = Buffer.alloc(bitmapBytes(pages));
  const marks: MarkedPage[] = [];
  const sent: SentRun[] = [];
  const looked = repeats?.begin(buffer, pages) === true ? repeats : undefined;
  let [zeroPages, samePages, equalPages] = [0, 0, 0];
  for (let page = 0; page < pages; page++) {
    const from = pageDataOffset + page * pageBytes;
    if (isZeroPage(buffer, from)) {
      setBit(zeroBits, page);
      zeroPages++;
      continue;
    }
    if (same?.[page] === true) {
      setBit(sameBits, page);
      samePages++;
      continue;
    }
    const mark = looked?.look(buffer, from);
    if (mark !== undefined) marks.push({ page, ...mark });
    if (mark?.kind === "equal") {
      equalPages++;
      continue;
    }
    const last = sent.at(-1);
    if (last !== undefined && last.end === from) last.end += pageBytes;
    else sent.push({ start: from, end: from + pageBytes });
  }
  if (zeroPages === pages) return encodeZeroPages(pages);
  const bitmaps = [...(zeroPages > 0 ? [zeroBits] : []), ...(samePages > 0 ? [sameBits] : [])];
  const flags =
    (zeroPages > 0 ? pageFlags.someZero : 0) |
    (samePages > 0 ? pageFlags.someSame : 0) |
    (marks.length > 0 ? pageFlags.marked : 0);
  const fields = 4 + bitmaps.length * zeroBits.length + (marks.length > 0 ? marksBytes(marks.length) : 0);
  const { start, end } = bringTogether(buffer, sent);
  const frame = buffer.subarray(start - fields - frameHeaderBytes, end);
  let at = frame.writeUInt32LE(pages, frameHeaderBytes);
  for (const bitmap of bitmaps) at += bitmap.copy(frame, at);
  if (marks.length > 0) writeMarks(frame, at, marks);
  return { frame, flags, pages, zeroPages, equalPages };
}

/** Offsets of pages that are sent and stand together. */
interface SentRun {
  start: number;
  end: number;
}

/** Moves all runs up to the longest, which stays where it is: to move pages costs nearly as much as to send them. */
function bringTogether(buffer: Buffer, runs: readonly SentRun[]): SentRun {
  let longest = 0;
  runs.forEach((run, at) => {
    const most = runs[longest];
    if (most !== undefined && run.end - run.start > most.end - most.start) longest = at;
  });
  let { start, end } = runs[longest] ?? { start: pageDataOffset, end: pageDataOffset };
  for (const run of runs.slice(0, longest).reverse()) {
    start -= run.end - run.start;
    buffer.copy(buffer, start, run.start, run.end);
  }
  for (const run of runs.slice(longest + 1)) {
    buffer.copy(buffer, end, run.start, run.end);
    end += run.end - run.start;
  }
  return { start, end };
}

const setBit = (bitmap: Buffer, page: number): void => {
  bitmap[page >> 3] = (bitmap[page >> 3] ?? 0) | (1 << (page & 7));
};
const isSet = (bitmap: Buffer | undefined, page: number): boolean =>
  (((bitmap?.[page >> 3] ?? 0) >> (page & 7)) & 1) === 1;

/** Where the contents of a span are: at this offset of the memory, or nowhere, as they are zero or known from before. */
export type SpanContents = number | "zero" | "same";

/** Consecutive pages of an answer: `first` counts from the answer's first page. */
export interface PageSpan {
  first: number;
  pages: number;
  at: SpanContents;
}

/** What the asker keeps of earlier answers over the same connection. */
export interface PagesKept {
  /** Keeps a copy of the page at `offset`. Throws FrameError when there is no such place. */
  keep: (place: number, payload: Buffer, offset: number) => void;
  /** Puts a copy of a kept page into the answer's memory, and says where. Throws FrameError when there is none, or no room. */
  put: (place: number) => number;
}

/**
 * What an answer says, its pages left where they are: in the payload, or in memory in which that begins at `base`. Throws
 * FrameError, also on an answer that refers to pages without `kept`.
 */
export function decodeSpans(
  payload: Buffer,
  flags: number,
  base = 0,
  kept?: PagesKept,
): { pages: number; spans: PageSpan[] } {
  if (payload.length < 4) throw new FrameError("an answer with pages is too short");
  if ((flags & ~knownFlags) !== 0) throw new FrameError(`unknown flags ${flags} on an answer with pages`);
  const pages = payload.readUInt32LE(0);
  if ((flags & pageFlags.allZero) !== 0) {
    if (pages === 0 || pages > maxZeroPages || payload.length !== 4)
      throw new FrameError("a malformed run of zero pages");
    return { pages, spans: [{ first: 0, pages, at: "zero" }] };
  }
  if (pages === 0 || pages > maxDataPages) throw new FrameError(`an answer carries ${pages} pages`);
  if ((flags & pageFlags.marked) !== 0 && kept === undefined)
    throw new FrameError("the source marks pages that this side does not keep");
  return { pages, spans: spansOf(payload, pages, flags, base, kept) };
}

function spansOf(payload: Buffer, pages: number, flags: number, base: number, kept: PagesKept | undefined): PageSpan[] {
  let at = 4;
  const bitmapOf = (flag: number): Buffer | undefined => {
    if ((flags & flag) === 0) return undefined;
    const bitmap = payload.subarray(at, at + bitmapBytes(pages));
    at += bitmapBytes(pages);
    return bitmap;
  };
  const [zero, same] = [bitmapOf(pageFlags.someZero), bitmapOf(pageFlags.someSame)];
  const marks = (flags & pageFlags.marked) !== 0 ? readMarks(payload, at, pages) : [];
  if (marks.length > 0) at += marksBytes(marks.length);
  const spans: PageSpan[] = [];
  let nextMark = 0;
  for (let page = 0; page < pages; page++) {
    const mark = marks[nextMark]?.page === page ? marks[nextMark++] : undefined;
    if (isSet(zero, page) || isSet(same, page)) {
      if (mark !== undefined) throw new FrameError("an answer marks a page that it does not send");
      addPage(spans, page, isSet(zero, page) ? "zero" : "same");
    } else if (mark?.kind === "equal" && kept !== undefined) addPage(spans, page, kept.put(mark.place));
    else {
      if (at + pageBytes > payload.length) throw differing();
      if (mark !== undefined) kept?.keep(mark.place, payload, at);
      addPage(spans, page, base + at);
      at += pageBytes;
    }
  }
  if (at !== payload.length) throw differing();
  return spans;
}

const differing = (): FrameError => new FrameError("an answer's length, bitmaps, marks and page count differ");

/** Adds a page to spans that end where it begins. */
function addPage(spans: PageSpan[], page: number, at: SpanContents): void {
  const last = spans.at(-1);
  const goesOn =
    last !== undefined && (typeof last.at === "number" ? at === last.at + last.pages * pageBytes : at === last.at);
  if (goesOn) last.pages++;
  else spans.push({ first: page, pages: 1, at });
}

/** The pages of an answer: whole, with the zero pages put back in; null when all are zero. Throws FrameError. */
export function decodePages(payload: Buffer, flags: number): { pages: number; data: Buffer | null } {
  const { pages, spans } = decodeSpans(payload, flags);
  const [first] = spans;
  if (spans.length === 1 && first !== undefined && first.at !== "same")
    return { pages, data: first.at === "zero" ? null : payload.subarray(first.at) };
  const data = Buffer.alloc(pages * pageBytes);
  for (const { first: page, pages: count, at } of spans) {
    if (at === "same") throw new FrameError("the source takes pages for known that were never sent");
    if (at !== "zero") payload.copy(data, page * pageBytes, at, at + count * pageBytes);
  }
  return { pages, data };
}

export const encodePageError = (text: string): Buffer => frameOf(Buffer.from(text.slice(0, 500)));

/** Most bytes the answer to a request for so many pages takes. */
export const maxDataBytesOf = (pages: number): number => pageDataOffset + Math.min(pages, maxDataPages) * pageBytes;
