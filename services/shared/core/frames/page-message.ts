/**
 * Payloads of the `pages` connection. The frame's channel is the number of the request.
 *
 *     hello        u16 protocol version, u8 role
 *     pageRequest  u64 vaddr, u32 pid, u32 pages, u8 priority, 7 zero bytes
 *     pages        u32 pages, then by the frame's flags: nothing (all zero) · a bitmap of the zero pages, one bit a
 *                  page, and the other pages · all pages
 *     pageError    UTF-8 text; a flag says whether asking again later may help
 */
import { allocateFrame, FrameError, frameHeaderBytes, frameOf, maxDataBytes } from "./frame.ts";

export const pageBytes = 4096;
/** Most pages in one answer that carries data, and in one that says they are zero. */
export const maxDataPages = maxDataBytes / pageBytes;
export const maxZeroPages = 4096;

export const pageFlags = { allZero: 1, someZero: 2 } as const;
/** Of a pageError: the memory is not open, but may be soon. Without it the pages are lost. */
export const pageErrorFlags = { notYet: 1 } as const;

export const protocolVersion = 1;
/** `faults` is for pages that somebody waits for: nothing bulky goes over it. */
export const roles = ["files", "pages", "faults"] as const;
export type Role = (typeof roles)[number];

export function encodeHello(role: Role): Buffer {
  const frame = allocateFrame(3);
  frame.writeUInt16LE(protocolVersion, frameHeaderBytes);
  frame[frameHeaderBytes + 2] = roles.indexOf(role) + 1;
  return frame;
}

export function decodeHello(payload: Buffer): Role {
  if (payload.length !== 3) throw new FrameError("a greeting has 3 bytes");
  const version = payload.readUInt16LE(0);
  if (version !== protocolVersion)
    throw new FrameError(`the peer speaks version ${version} of the data protocol, this side ${protocolVersion}`);
  const role = roles[payload.readUInt8(2) - 1];
  if (role === undefined) throw new FrameError("the peer asks for a role that does not exist");
  return role;
}

export interface PageRequest {
  pid: number;
  /** First address, a multiple of the page size. */
  vaddr: bigint;
  pages: number;
  priority: 0 | 2 | 3;
}

const requestBytes = 24;

export function encodePageRequest({ pid, vaddr, pages, priority }: PageRequest): Buffer {
  const frame = allocateFrame(requestBytes).fill(0, frameHeaderBytes);
  frame.writeBigUInt64LE(vaddr, frameHeaderBytes);
  frame.writeUInt32LE(pid, frameHeaderBytes + 8);
  frame.writeUInt32LE(pages, frameHeaderBytes + 12);
  frame[frameHeaderBytes + 16] = priority;
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
  return { pid: payload.readUInt32LE(8), vaddr, pages, priority };
}

const zeroPage = Buffer.alloc(pageBytes);

/** Whether the page at `offset` is all zero. Nearly every other page shows it in its first words. */
export function isZeroPage(bytes: Buffer, offset: number): boolean {
  if (bytes[offset] !== 0 || bytes[offset + 8] !== 0 || bytes[offset + 2048] !== 0) return false;
  return bytes.compare(zeroPage, 0, pageBytes, offset, offset + pageBytes) === 0;
}

const bitmapBytes = (pages: number): number => Math.ceil(pages / 8);
/** Bytes in front of the page data where the answer is made: the header, the count, and room for a bitmap. */
export const pageDataOffset = frameHeaderBytes + 4 + bitmapBytes(maxDataPages);

/** Of a buffer in which an answer of up to `pages` pages is made: read the pages to `pageDataOffset`. */
export const bufferBytesOf = (pages: number): number => pageDataOffset + pages * pageBytes;

export interface EncodedPages {
  frame: Buffer;
  flags: number;
  pages: number;
  zeroPages: number;
}

export function encodeZeroPages(pages: number): EncodedPages {
  const frame = allocateFrame(4);
  frame.writeUInt32LE(pages, frameHeaderBytes);
  return { frame, flags: pageFlags.allZero, pages, zeroPages: pages };
}

/**
 * Makes the answer out of `pages` pages that were read into `buffer` at `pageDataOffset`. What it is made of stands in
 * that buffer until it has left.
 */
export function encodePages(buffer: Buffer, pages: number): EncodedPages {
  const bitmap = Buffer.alloc(bitmapBytes(pages));
  let zeroPages = 0;
  for (let page = 0; page < pages; page++) {
    const from = pageDataOffset + page * pageBytes;
    if (isZeroPage(buffer, from)) {
      bitmap[page >> 3] = (bitmap[page >> 3] ?? 0) | (1 << (page & 7));
      zeroPages++;
    } else if (zeroPages > 0) buffer.copy(buffer, from - zeroPages * pageBytes, from, from + pageBytes);
  }
  if (zeroPages === pages) return encodeZeroPages(pages);
  const flags = zeroPages === 0 ? 0 : pageFlags.someZero;
  const fields = 4 + (zeroPages === 0 ? 0 : bitmap.length);
  const frame = buffer.subarray(
    pageDataOffset - fields - frameHeaderBytes,
    pageDataOffset + (pages - zeroPages) * pageBytes,
  );
  frame.writeUInt32LE(pages, frameHeaderBytes);
  if (zeroPages > 0) bitmap.copy(frame, frameHeaderBytes + 4);
  return { frame, flags, pages, zeroPages };
}

/** Consecutive pages of an answer: `first` counts from the answer's first page. */
export interface PageSpan {
  first: number;
  pages: number;
  /** Where in the payload their contents begin; undefined when all of them are zero. */
  at: number | undefined;
}

/** What an answer says, its pages left where they are in the payload. Throws FrameError. */
export function decodeSpans(payload: Buffer, flags: number): { pages: number; spans: PageSpan[] } {
  if (payload.length < 4) throw new FrameError("an answer with pages is too short");
  const pages = payload.readUInt32LE(0);
  if (flags === pageFlags.allZero) {
    if (pages === 0 || pages > maxZeroPages || payload.length !== 4)
      throw new FrameError("a malformed run of zero pages");
    return { pages, spans: [{ first: 0, pages, at: undefined }] };
  }
  if (pages === 0 || pages > maxDataPages) throw new FrameError(`an answer carries ${pages} pages`);
  if (flags === 0) {
    if (payload.length !== 4 + pages * pageBytes) throw new FrameError("an answer's length and page count differ");
    return { pages, spans: [{ first: 0, pages, at: 4 }] };
  }
  if (flags !== pageFlags.someZero) throw new FrameError(`unknown flags ${flags} on an answer with pages`);
  return { pages, spans: spansOfBitmap(payload, pages) };
}

function spansOfBitmap(payload: Buffer, pages: number): PageSpan[] {
  const spans: PageSpan[] = [];
  let at = 4 + bitmapBytes(pages);
  for (let page = 0; page < pages; page++) {
    const isZero = ((payload[4 + (page >> 3)] ?? 0) >> (page & 7)) & 1;
    const last = spans.at(-1);
    if (last !== undefined && (last.at === undefined) === (isZero === 1)) last.pages++;
    else spans.push({ first: page, pages: 1, at: isZero === 1 ? undefined : at });
    if (isZero === 0) at += pageBytes;
  }
  if (at !== payload.length) throw new FrameError("an answer's length and bitmap differ");
  return spans;
}

/** The pages of an answer: whole, with the zero pages put back in; null when all are zero. Throws FrameError. */
export function decodePages(payload: Buffer, flags: number): { pages: number; data: Buffer | null } {
  const { pages, spans } = decodeSpans(payload, flags);
  const [first] = spans;
  if (spans.length === 1 && first !== undefined)
    return { pages, data: first.at === undefined ? null : payload.subarray(first.at) };
  const data = Buffer.alloc(pages * pageBytes);
  for (const span of spans) {
    if (span.at !== undefined) payload.copy(data, span.first * pageBytes, span.at, span.at + span.pages * pageBytes);
  }
  return { pages, data };
}

export const encodePageError = (text: string): Buffer => frameOf(Buffer.from(text.slice(0, 500)));

/** Most bytes the answer to a request for so many pages takes. */
export const maxDataBytesOf = (pages: number): number => pageDataOffset + Math.min(pages, maxDataPages) * pageBytes;
