/** One transfer in a page thread: its connection, and the memory that it is answered from. */
import type { Connection } from "../../shared/link/connection.ts";
import { ContainerMemory, lostMemory } from "../adapters/memory.ts";
import { GmacHasher } from "../adapters/gmac-hasher.ts";
import { PageHashes } from "../core/page-hashes.ts";
import type { PageAnswersOptions, PageReader } from "../serve-pages.ts";
import type { PageCounters } from "./counters.ts";
import type { OpenedMemory } from "./messages.ts";
import { PageConnection } from "./page-connection.ts";

export interface PageTransferOptions extends Omit<PageAnswersOptions, "memory" | "packer"> {
  compresses: boolean;
  counters: PageCounters;
  /** A connection is its owner's again, and why. */
  onClosed: (id: number, reason: string) => void;
}

export class PageTransfer {
  readonly #options: PageTransferOptions;
  readonly #hasher = new GmacHasher();
  readonly #hashes = new PageHashes(this.#hasher);
  #memory: (PageReader & { close: () => void }) | undefined;
  #attached: { id: number; connection: PageConnection } | undefined;
  #linkBytesPerSecond: number | undefined;

  constructor(options: PageTransferOptions) {
    this.#options = options;
  }

  get connection(): PageConnection | undefined {
    return this.#attached?.connection;
  }

  /** Serves a connection; the one before it is closed. */
  attach(id: number, connection: Connection): void {
    this.#detach("the destination has connected again");
    const { onClosed: _, ...serving } = this.#options;
    this.#attached = {
      id,
      connection: new PageConnection({
        ...{ ...serving, connection, memory: () => this.#memory },
        onLost: (reason) => this.#detach(reason),
      }),
    };
    serving.counters.links = 1;
    if (this.#linkBytesPerSecond !== undefined) this.connection?.noteLink(this.#linkBytesPerSecond);
    // What came with it is not heard of from the system.
    this.connection?.onReady();
  }

  /** What a connection may carry, as the link was measured. */
  noteLink(bytesPerSecond: number): void {
    this.#linkBytesPerSecond = bytesPerSecond;
    this.connection?.noteLink(bytesPerSecond);
  }

  /** Throws `invalid-request` when a process is not the container's. */
  open({ containerId, processes, provisional }: OpenedMemory): void {
    const memory = new ContainerMemory(containerId, processes, { provisional, hashes: this.#hashes });
    this.#memory?.close();
    this.#memory = memory;
  }

  /** The frozen processes are gone: whoever asks for their pages is told so. */
  lose(why: string): void {
    this.#memory?.close();
    this.#memory = lostMemory(why);
  }

  end(): void {
    this.#detach("the transfer was ended");
    this.#memory?.close();
    this.#memory = undefined;
    this.#hasher.close();
  }

  #detach(reason: string): void {
    if (this.#attached === undefined) return;
    const { id, connection } = this.#attached;
    this.#attached = undefined;
    this.#options.counters.links = 0;
    connection.close();
    this.#options.onClosed(id, reason);
  }
}
