/** One transfer in a page thread: its connection, and the memory that it is answered from. */
import type { Connection } from "../../shared/link/connection.ts";
import { ContainerMemory, lostMemory } from "../adapters/memory.ts";
import { GmacHasher } from "../adapters/gmac-hasher.ts";
import { PageHashes } from "../core/page-hashes.ts";
import type { PageReader } from "../serve-pages.ts";
import type { PageCounters } from "./counters.ts";
import type { OpenedMemory } from "./messages.ts";
import { PageConnection } from "./page-connection.ts";

export class PageTransfer {
  readonly #counters: PageCounters;
  readonly #hasher = new GmacHasher();
  readonly #hashes = new PageHashes(this.#hasher);
  #memory: (PageReader & { close: () => void }) | undefined;
  #attached: { id: number; connection: PageConnection } | undefined;
  /** A connection is its owner's again, and why. */
  readonly #onClosed: (id: number, reason: string) => void;

  constructor(counters: PageCounters, onClosed: (id: number, reason: string) => void) {
    this.#counters = counters;
    this.#onClosed = onClosed;
  }

  get connection(): PageConnection | undefined {
    return this.#attached?.connection;
  }

  /** Serves a connection; the one before it is closed. */
  attach(id: number, connection: Connection): void {
    this.#detach("the destination has connected again");
    this.#attached = {
      id,
      connection: new PageConnection({
        ...{ connection, counters: this.#counters, memory: () => this.#memory },
        onLost: (reason) => this.#detach(reason),
      }),
    };
    this.#counters.links = 1;
    // What came with it is not heard of from the system.
    this.connection?.onReady();
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
    this.#counters.links = 0;
    connection.close();
    this.#onClosed(id, reason);
  }
}
