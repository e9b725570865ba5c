/**
 * One conversation with CRIU: requests go to the broker, what the broker decides goes to the source and back to CRIU.
 *
 * Whatever fails, CRIU's connection stays open and unanswered: its end would make CRIU end, and the processes that wait
 * for pages would read zeros (see adapters/lazy-pages.ts). A thread that waits is the lesser evil.
 */
import type { Duplex } from "node:stream";
import type { PageSource } from "../shared/contracts/pager.ts";
import { encodePagesHeader, encodeStatus, pageBytes, RequestDecoder } from "../shared/core/page-server/codec.ts";
import type { LayoutName } from "../shared/core/page-server/layout.ts";
import { LatencyHistogram } from "./core/latency-histogram.ts";
import type { Answer, Fetch, PageBroker } from "./core/page-broker.ts";

export interface PageSessionOptions {
  /** Our end of CRIU's connection. */
  socket: Duplex;
  layout: LayoutName;
  broker: PageBroker;
  source: PageSource;
  /** Monotonic clock, milliseconds. */
  now: () => number;
  /** Called at most once: a lost link, or bytes that are not the protocol. Nothing more is answered then. */
  onFailure: (error: unknown) => void;
}

export class PageSession {
  readonly #options: PageSessionOptions;
  readonly #decoder: RequestDecoder;
  readonly faultLatency = new LatencyHistogram();
  #pagesFaulted = 0;
  #pagesPrefetched = 0;
  #zeroPages = 0;
  #firstRequestAt: number | undefined;
  #closedByCriu = false;
  #failed = false;

  constructor(options: PageSessionOptions) {
    this.#options = options;
    this.#decoder = new RequestDecoder(options.layout);
    options.socket.on("data", (chunk: Buffer) => this.#guard(() => this.#receive(chunk)));
    options.socket.on("drain", () => this.#guard(() => this.#pump()));
    // What ended the connection is told by CRIU's exit code.
    options.socket.on("error", () => (this.#failed = true));
    options.socket.resume();
  }

  get pagesFaulted(): number {
    return this.#pagesFaulted;
  }
  get pagesPrefetched(): number {
    return this.#pagesPrefetched;
  }
  get zeroPages(): number {
    return this.#zeroPages;
  }
  /** When CRIU first asked for a page: from then on processes may run here. */
  get firstRequestAt(): number | undefined {
    return this.#firstRequestAt;
  }
  /** CRIU said that it needs no more pages. */
  get closedByCriu(): boolean {
    return this.#closedByCriu;
  }

  /** Ends the conversation without a word: for when CRIU is gone. */
  stop(): void {
    this.#failed = true;
    this.#options.socket.destroy();
  }

  #receive(chunk: Buffer): void {
    const { broker, now, socket } = this.#options;
    for (const request of this.#decoder.push(chunk)) {
      if (request.kind === "close") {
        this.#closedByCriu = true;
        socket.write(encodeStatus(0));
      } else {
        const at = now();
        this.#firstRequestAt ??= at;
        broker.request(request.pid, Number(request.vaddr / BigInt(pageBytes)), request.pages, at);
      }
    }
    this.#pump();
  }

  /** Does all that can be done now: answers first, as they make room in the window. */
  #pump(): void {
    const { broker, socket, now } = this.#options;
    while (!socket.writableNeedDrain) {
      const answer = broker.nextAnswer(now());
      if (answer === undefined) break;
      this.#send(answer);
    }
    for (let fetch = broker.nextFetch(); fetch !== undefined; fetch = broker.nextFetch()) void this.#fetch(fetch);
  }

  #send({ pid, page, pages, parts, isFault, waited }: Answer): void {
    const { socket, layout } = this.#options;
    socket.cork();
    socket.write(encodePagesHeader(layout, pid, BigInt(page) * BigInt(pageBytes), pages));
    for (const part of parts) {
      if (part.data !== null) socket.write(part.data);
      else this.#sendZeros(part.pages);
    }
    socket.uncork();
    if (isFault) {
      this.#pagesFaulted += pages;
      this.faultLatency.record(waited);
    } else {
      this.#pagesPrefetched += pages;
    }
  }

  #sendZeros(pages: number): void {
    this.#zeroPages += pages;
    for (let left = pages * pageBytes; left > 0; left -= zeros.length) {
      this.#options.socket.write(left < zeros.length ? zeros.subarray(0, left) : zeros);
    }
  }

  async #fetch(fetch: Fetch): Promise<void> {
    const { broker, source } = this.#options;
    const { pid, page, pages, priority } = fetch;
    try {
      const run = await source.fetch({ pid, vaddr: BigInt(page) * BigInt(pageBytes), pages, priority });
      this.#guard(() => {
        broker.arrived(fetch, run);
        this.#pump();
      });
    } catch (error) {
      broker.lost(fetch);
      this.#fail(error);
    }
  }

  #guard(work: () => void): void {
    if (this.#failed) return;
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.onFailure(error);
  }
}

const zeros = Buffer.alloc(64 << 10);
