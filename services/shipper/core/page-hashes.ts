/** What the source has sent of a running container's memory, as a hash for each page: 4 MB for a GB of memory. */
import { isZeroPage, pageBytes } from "../../shared/core/frames/page-message.ts";

export interface PageHasher {
  /** The last hash; all zeros by chance alone. */
  readonly hash: Readonly<Uint32Array>;
  /** Hashes the page at `offset`. */
  take(bytes: Buffer, offset: number): void;
}

/** Pages that stand together in one array. */
const blockPages = 64;

export class PageHashes {
  readonly #hasher: PageHasher;
  readonly #words: number;
  readonly #zeros: boolean;
  /** By process and block: the words of each page's hash, all 0 when it is not known. */
  readonly #blocks = new Map<number, Map<number, Uint32Array>>();

  /**
   * With `zeros` a zero page is one like any other. Without it, none is ever the same as before: that a page is zero takes
   * no more to say, and a process may have any number of them.
   */
  constructor(hasher: PageHasher, { zeros = false } = {}) {
    this.#hasher = hasher;
    this.#zeros = zeros;
    this.#words = hasher.hash.length;
  }

  /** Notes `pages` pages of process `pid`, from `page` on, whose contents begin at `offset`. */
  remember(pid: number, page: number, pages: number, bytes: Buffer, offset: number): void {
    for (let at = 0; at < pages; at++) {
      if (!this.#zeros && isZeroPage(bytes, offset + at * pageBytes)) {
        this.#forget(pid, page + at);
        continue;
      }
      this.#hasher.take(bytes, offset + at * pageBytes);
      this.#blockOf(pid, page + at, true).set(this.#hasher.hash, this.#indexOf(page + at));
    }
  }

  /** Which of the pages are what was noted last. */
  compare(pid: number, page: number, pages: number, bytes: Buffer, offset: number): boolean[] {
    return Array.from({ length: pages }, (_, at) => {
      const block = this.#blockOf(pid, page + at, false);
      const index = this.#indexOf(page + at);
      const known = block?.subarray(index, index + this.#words);
      if (known === undefined || known.every((word) => word === 0)) return false;
      this.#hasher.take(bytes, offset + at * pageBytes);
      return known.every((word, n) => word === this.#hasher.hash[n]);
    });
  }

  #forget(pid: number, page: number): void {
    const index = this.#indexOf(page);
    this.#blockOf(pid, page, false)?.fill(0, index, index + this.#words);
  }

  #indexOf(page: number): number {
    return (page % blockPages) * this.#words;
  }

  #blockOf(pid: number, page: number, make: true): Uint32Array;
  #blockOf(pid: number, page: number, make: boolean): Uint32Array | undefined;
  #blockOf(pid: number, page: number, make: boolean): Uint32Array | undefined {
    let blocks = this.#blocks.get(pid);
    if (blocks === undefined && make) this.#blocks.set(pid, (blocks = new Map<number, Uint32Array>()));
    const number = Math.floor(page / blockPages);
    let block = blocks?.get(number);
    if (block === undefined && make) blocks?.set(number, (block = new Uint32Array(this.#words * blockPages)));
    return block;
  }
}
