/** What CRIU's inventory, pstree and pagemap images say about the dumped processes. Values in, values out. */
import { CriuImageError, encodeImage, imageMessages } from "./image.ts";
import { decode, messages, toNumber, type Wide } from "./messages.ts";

export interface Inventory {
  /** CRIU's image format; 2 is what every CRIU since 2.0 writes. */
  imgVersion: number;
  tcpClose: boolean;
}

export interface ProcessEntry {
  /** Pid in the container's pid namespace: the name by which CRIU asks for its pages. */
  pid: number;
  ppid: number;
  threads: number[];
}

/** A run of pages of one process; page numbers are addresses divided by 4096, exact as a number. */
export interface PageRange {
  page: number;
  pages: number;
}

const pageBytes = 4096;
/** Pages of a user address space of 57 bits. */
const maxPages = 2 ** 45;
const flag = { parent: 1, lazy: 2, present: 4 } as const;

/** Throws CriuImageError. */
export function decodeInventory(image: Buffer): Inventory {
  const [first] = imageMessages("inventory", image);
  if (first === undefined) throw new CriuImageError("the inventory image is empty");
  const entry = decode(messages.inventory, first) as unknown as { imgVersion: number; tcpClose: boolean };
  return { imgVersion: entry.imgVersion, tcpClose: entry.tcpClose };
}

/** Every dumped process, parents before children. Throws CriuImageError. */
export function decodePstree(image: Buffer): ProcessEntry[] {
  return Array.from(imageMessages("pstree", image), (bytes) => {
    const { pid, ppid, threads } = decode(messages.pstree, bytes) as unknown as ProcessEntry;
    return { pid, ppid, threads: [...threads] };
  });
}

/** A run of pages as a pagemap image has it. */
export interface PagemapEntry extends PageRange {
  /** Not in the images: CRIU asks a page server for it. Else its bytes stand in the pages image. */
  lazy: boolean;
  /** In the pages image of an earlier dump, CRIU's `parent`. */
  inParent?: boolean;
}

export interface Pagemap {
  /** Number of the pages image, in which the bytes of all entries that are neither lazy nor in the parent stand one after the other. */
  pagesId: number;
  /** Ascending and disjoint. */
  entries: PagemapEntry[];
}

/** Throws CriuImageError. */
export function decodePagemap(image: Buffer): Pagemap {
  const entries: PagemapEntry[] = [];
  let end = 0;
  let pagesId: number | undefined;
  for (const bytes of imageMessages("pagemap", image)) {
    if (pagesId === undefined) {
      pagesId = (decode(messages.pagemapHead, bytes) as unknown as { pagesId: number }).pagesId;
      continue;
    }
    const entry = decodeEntry(bytes);
    if (entry.page < end || entry.pages < 1 || entry.page + entry.pages > maxPages)
      throw new CriuImageError(`the pagemap image has an impossible entry at page ${entry.page}`);
    end = entry.page + entry.pages;
    entries.push(entry);
  }
  if (pagesId === undefined) throw new CriuImageError("the pagemap image has no head");
  return { pagesId, entries };
}

/** The inverse of `decodePagemap`, but that it takes entries in the parent; as CRIU from 4.2 on writes it. */
export function encodePagemap({ pagesId, entries }: Pagemap): Buffer {
  const head = messages.pagemapHead.encode({ pagesId }).finish();
  const bodies = entries.map(({ page, pages, lazy, inParent }) => {
    const flags = inParent === true ? flag.parent : lazy ? flag.lazy : flag.present;
    return messages.pagemap.encode({ vaddr: page * pageBytes, compatPages: 0, flags, pages }).finish();
  });
  return encodeImage("pagemap", [head, ...bodies]);
}

/**
 * The lazy pages of a pagemap image: those that are not in the images, and that CRIU will ask a page server for.
 * Ascending, disjoint; neighbouring entries stay apart, as CRIU never asks across two of them. Throws CriuImageError.
 */
export function decodeLazyRanges(image: Buffer): PageRange[] {
  return decodePagemap(image)
    .entries.filter(({ lazy }) => lazy)
    .map(({ page, pages }) => ({ page, pages }));
}

interface EntryMessage {
  vaddr: Wide;
  compatPages: number;
  inParent: boolean;
  flags: number;
  pages: Wide;
}

function decodeEntry(bytes: Buffer): PagemapEntry {
  const entry = decode(messages.pagemap, bytes) as unknown as EntryMessage;
  const vaddr = toNumber(entry.vaddr);
  if (vaddr % pageBytes !== 0) throw new CriuImageError("the pagemap image has an address that is not a page's");
  // An absent field reads as its default, 0: entries of CRIU before 4.2 have only the 32-bit count.
  const pages = toNumber(entry.pages) || entry.compatPages;
  const inParent = entry.inParent || (entry.flags & flag.parent) !== 0;
  if (inParent)
    throw new CriuImageError("the pages of an earlier dump are needed; incremental dumps are not supported");
  return { page: vaddr / pageBytes, pages, lazy: (entry.flags & flag.lazy) !== 0 };
}
