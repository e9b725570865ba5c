/** What a transfer's connections of one role have sent: counted in the thread that serves them, read in the main one. */
import type { PageStats } from "../serve-pages.ts";

const at = { pagesSent: 0, zeroPages: 1, equalPages: 2, bytesSent: 3, links: 4 } as const;
const count = 5;

export class PageCounters implements PageStats {
  readonly memory: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(memory = new SharedArrayBuffer(count * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#values = new Float64Array(memory);
  }

  get pagesSent(): number {
    return this.#values[at.pagesSent] ?? 0;
  }
  set pagesSent(value: number) {
    this.#values[at.pagesSent] = value;
  }
  get zeroPages(): number {
    return this.#values[at.zeroPages] ?? 0;
  }
  set zeroPages(value: number) {
    this.#values[at.zeroPages] = value;
  }
  get equalPages(): number {
    return this.#values[at.equalPages] ?? 0;
  }
  set equalPages(value: number) {
    this.#values[at.equalPages] = value;
  }
  get bytesSent(): number {
    return this.#values[at.bytesSent] ?? 0;
  }
  set bytesSent(value: number) {
    this.#values[at.bytesSent] = value;
  }
  /** Connections that are open. */
  get links(): number {
    return this.#values[at.links] ?? 0;
  }
  set links(value: number) {
    this.#values[at.links] = value;
  }
}
