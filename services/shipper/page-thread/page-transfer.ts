/** One transfer in a page thread: its connections, and the memory that they are answered from. */
import type { FrozenProcess } from "../../shared/contracts/dumper.ts";
import type { LinkSecurity } from "../../shared/contracts/shipper.ts";
import type { Role } from "../../shared/core/frames/page-message.ts";
import { DmigrateError } from "../../shared/errors.ts";
import type { FramedLink, FrameHandler } from "../../shared/link/framed.ts";
import type { Attachable } from "../adapters/data-door.ts";
import { ContainerMemory, lostMemory } from "../adapters/memory.ts";
import { announceMemory } from "../announce-memory.ts";
import { PageHashes } from "../core/page-hashes.ts";
import { servePages, type PageReader } from "../serve-pages.ts";
import type { PageCounters } from "./counters.ts";
import type { OpenedMemory } from "./messages.ts";

export class PageTransfer implements Attachable {
  readonly key: Buffer;
  readonly security: LinkSecurity;
  readonly #counters: PageCounters;
  readonly #hashes = new PageHashes();
  readonly #ended = new AbortController();
  #link: FramedLink | undefined;
  #memory: (PageReader & { close: () => void }) | undefined;

  constructor(secret: string, security: LinkSecurity, counters: PageCounters) {
    this.key = Buffer.from(secret, "hex");
    this.security = security;
    this.#counters = counters;
  }

  attach(_role: Role, link: FramedLink): FrameHandler {
    this.#link?.close(new Error("the destination has connected again"));
    this.#link = link;
    this.#counters.links += 1;
    void link.closed.then(() => {
      this.#counters.links -= 1;
      if (this.#link === link) this.#link = undefined;
    });
    return servePages(link, () => this.#memory, this.#counters);
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

  /** Tells the destination which pages there are, if it is connected. Resolves with how many. */
  async announce(processes: readonly FrozenProcess[]): Promise<number> {
    if (this.#link === undefined) return 0;
    const { pages, bytes } = await announceMemory(this.#link, processes, this.#ended.signal);
    this.#counters.bytesSent += bytes;
    return pages;
  }

  end(): void {
    const reason = new DmigrateError("cancelled", "the transfer was ended");
    this.#ended.abort(reason);
    this.#link?.close(reason);
    this.#memory?.close();
    this.#memory = undefined;
  }
}
