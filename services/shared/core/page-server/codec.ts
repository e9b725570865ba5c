/**
 * CRIU's page-server protocol as spoken between `criu lazy-pages` and a page server: bytes ↔ messages, no I/O.
 *
 * A client sends GET and, once, CLOSE or FORCE_CLOSE. GET is answered by a header (ADD_F, flag PRESENT, the same address
 * and id) and the pages; the answer may hold fewer pages than asked but at least one, and answers come in the order of
 * the requests. CLOSE and FORCE_CLOSE are answered by an int32 status, 0 for success.
 */
import { layouts, type LayoutName } from "./layout.ts";

export const pageBytes = 4096;

const command = { addPages: 6, get: 7, close: 0x1023, forceClose: 0x1024 } as const;
/** The low half of the first word is the command, the high half its flags. */
const commandMask = 0xffff;
const flagPresent = 1 << 2;

/** CRIU asks for 4 MiB at most; far above that the stream is not CRIU's. */
const maxPagesPerRequest = (1 << 30) / pageBytes;
/** Highest user-space address with five-level page tables. */
const maxVaddr = 1n << 57n;

export type PageRequest =
  /** `pid` is the process's pid inside the container; `vaddr` its address when it was dumped. */
  { kind: "get"; pid: number; vaddr: bigint; pages: number } | { kind: "close" };

/** The bytes are not this protocol, or not this layout of it. */
export class PageProtocolError extends Error {
  override readonly name = "PageProtocolError";
}

/** The header that precedes the pages of an answer. */
export function encodePagesHeader(layout: LayoutName, pid: number, vaddr: bigint, pages: number): Buffer {
  return encodeHeader(layout, command.addPages | (flagPresent << 16), pages, vaddr, pid);
}

/** A request, as CRIU sends it. `close` becomes CLOSE, which also ends a dump on a source's page server. */
export function encodeRequest(layout: LayoutName, request: PageRequest): Buffer {
  return request.kind === "get"
    ? encodeHeader(layout, command.get, request.pages, request.vaddr, request.pid)
    : encodeHeader(layout, command.close, 0, 0n, 0);
}

/** The answer to CLOSE and FORCE_CLOSE. */
export function encodeStatus(status: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(status);
  return bytes;
}

function encodeHeader(layout: LayoutName, word: number, pages: number, vaddr: bigint, id: number): Buffer {
  const { headerBytes, pagesAt, vaddrAt, idAt } = layouts[layout];
  const bytes = Buffer.alloc(headerBytes);
  bytes.writeUInt32LE(word, 0);
  // A count below 2^32 reads the same in both widths: the upper half of the wide one stays zero.
  bytes.writeUInt32LE(pages, pagesAt);
  bytes.writeBigUInt64LE(vaddr, vaddrAt);
  bytes.writeBigUInt64LE(BigInt(id), idAt);
  return bytes;
}

/** Cuts a byte stream into requests, wherever its chunks begin and end. Keeps less than one header between calls. */
export class RequestDecoder {
  readonly #layout: LayoutName;
  #rest: Buffer = Buffer.alloc(0);

  constructor(layout: LayoutName) {
    this.#layout = layout;
  }

  /** The requests completed by `chunk`. Throws PageProtocolError at the first that is not one. */
  push(chunk: Buffer): PageRequest[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const { headerBytes } = layouts[this.#layout];
    const requests: PageRequest[] = [];
    let at = 0;
    for (; at + headerBytes <= bytes.length; at += headerBytes) {
      requests.push(decodeRequest(this.#layout, bytes.subarray(at, at + headerBytes)));
    }
    this.#rest = Buffer.from(bytes.subarray(at));
    return requests;
  }

  /** True between two requests: the stream may end here. */
  get atBoundary(): boolean {
    return this.#rest.length === 0;
  }
}

function decodeRequest(layout: LayoutName, bytes: Buffer): PageRequest {
  const { pagesAt, vaddrAt, idAt } = layouts[layout];
  const kind = bytes.readUInt32LE(0) & commandMask;
  if (kind === command.close || kind === command.forceClose) return { kind: "close" };
  if (kind !== command.get) throw new PageProtocolError(`command ${kind} where GET or CLOSE was expected`);
  const pages = layout === "wide" ? bytes.readBigUInt64LE(pagesAt) : BigInt(bytes.readUInt32LE(pagesAt));
  const vaddr = bytes.readBigUInt64LE(vaddrAt);
  const id = bytes.readBigUInt64LE(idAt);
  if (pages < 1n || pages > BigInt(maxPagesPerRequest)) throw new PageProtocolError(`GET of ${pages.toString()} pages`);
  if (vaddr % BigInt(pageBytes) !== 0n || vaddr + pages * BigInt(pageBytes) > maxVaddr)
    throw new PageProtocolError(`GET at 0x${vaddr.toString(16)}, which is no page of a process`);
  if (id < 1n || id > 0x7fff_ffffn) throw new PageProtocolError(`GET for process ${id.toString()}`);
  return { kind: "get", pid: Number(id), vaddr, pages: Number(pages) };
}
