/** What the source has sent of a running container's memory, as a hash for each page: 2 MB for a GB of memory. */
import { pageBytes } from "../../shared/core/frames/page-message.ts";
import { PageHasher } from "./page-hash.ts";

/** Pages that stand together in one array. */
const blockPages = 64;
const wordsOfPage = pageBytes / Uint32Array.BYTES_PER_ELEMENT;

export class PageHashes {
  readonly #hasher = new PageHasher();
  /** By process and block: two words for each page, both 0 when it is not known. */
  readonly #blocks = new Map<number, Map<number, Uint32Array>>();

  /** Notes `pages` pages of process `pid`, from `page` on, whose contents begin at `offset`: a multiple of 4. */
  remember(pid: number, page: number, pages: number, bytes: Buffer, offset: number): void {
    const words = wordsOf(bytes, offset, pages);
    for (let at = 0; at < pages; at++) {
      this.#hasher.hash(words, at * wordsOfPage);
      const [block, index] = this.#place(pid, page + at, true);
      block[index] = this.#hasher.low;
      block[index + 1] = this.#hasher.high;
    }
  }

  /** Which of the pages are what was noted last. */
  compare(pid: number, page: number, pages: number, bytes: Buffer, offset: number): boolean[] {
    const words = wordsOf(bytes, offset, pages);
    return Array.from({ length: pages }, (_, at) => {
      const [block, index] = this.#place(pid, page + at, false);
      if (block === undefined || (block[index] === 0 && block[index + 1] === 0)) return false;
      this.#hasher.hash(words, at * wordsOfPage);
      return block[index] === this.#hasher.low && block[index + 1] === this.#hasher.high;
    });
  }

  #place(pid: number, page: number, make: true): [Uint32Array, number];
  #place(pid: number, page: number, make: boolean): [Uint32Array | undefined, number];
  #place(pid: number, page: number, make: boolean): [Uint32Array | undefined, number] {
    let blocks = this.#blocks.get(pid);
    if (blocks === undefined && make) this.#blocks.set(pid, (blocks = new Map<number, Uint32Array>()));
    const number = Math.floor(page / blockPages);
    let block = blocks?.get(number);
    if (block === undefined && make) blocks?.set(number, (block = new Uint32Array(2 * blockPages)));
    return [block, (page % blockPages) * 2];
  }
}

const wordsOf = (bytes: Buffer, offset: number, pages: number): Uint32Array =>
  new Uint32Array(bytes.buffer, bytes.byteOffset + offset, pages * wordsOfPage);
