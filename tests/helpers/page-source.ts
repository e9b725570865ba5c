/** A source's end of its page connections, as its threads serve them, but on the event loop and out of any memory. */
import { maxZeroPages } from "../../services/shared/core/frames/page-message.ts";
import type { Role } from "../../services/shared/link/preamble.ts";
import { closeConnection, type Connection } from "../../services/shared/link/connection.ts";
import type { Attachable } from "../../services/shipper/adapters/data-listener.ts";
import { PageCounters } from "../../services/shipper/page-thread/counters.ts";
import { PageGate } from "../../services/shipper/page-thread/page-gate.ts";
import { PageConnection } from "../../services/shipper/page-thread/page-connection.ts";
import type { PageReader } from "../../services/shipper/serve-pages.ts";
import { PollLoop, type Turning } from "./poll-loop.ts";

interface Served {
  connection: Connection;
  pages: PageConnection;
  turning: Turning;
}

export class PageSource implements Attachable {
  readonly key: Buffer;
  readonly stats = new PageCounters();
  /** There is none while it is not open. */
  memory: PageReader | undefined;
  /** It takes no request, and answers none. */
  isHeld = false;
  /** Of connections that come. */
  compresses = false;
  /** Of each connection that there was. */
  readonly roles: Role[] = [];
  readonly #loop = new PollLoop();
  readonly #served = new Set<Served>();

  constructor(secret: string, memory: PageReader | undefined) {
    this.key = Buffer.from(secret, "hex");
    this.memory = memory;
  }

  /** Connections that are open. */
  get connections(): readonly PageConnection[] {
    return [...this.#served].map(({ pages }) => pages);
  }

  attach(role: Role, connection: Connection): void {
    this.roles.push(role);
    const pages = new PageConnection({
      ...{ connection, counters: this.stats, mostPages: maxZeroPages, memory: () => this.memory, gate: new PageGate() },
      compresses: this.compresses,
      onLost: () => this.#end(served),
    });
    const isHeld = (): boolean => this.isHeld;
    const turning: Turning = {
      fd: connection.fd,
      get isReading() {
        return !isHeld() && pages.isReading;
      },
      get isWriting() {
        return !isHeld() && pages.isWriting;
      },
      onReady: () => {
        if (!isHeld()) pages.onReady();
      },
      onTurn: () => {
        if (!isHeld() && pages.isBusy) pages.goOn();
      },
    };
    const served: Served = { connection, pages, turning };
    this.#served.add(served);
    this.#loop.add(turning);
    turning.onReady();
  }

  /** Loses all connections. */
  cut(): void {
    for (const served of [...this.#served]) this.#end(served);
  }

  stop(): void {
    this.cut();
    this.#loop.stop();
  }

  #end(served: Served): void {
    if (!this.#served.delete(served)) return;
    this.#loop.delete(served.turning);
    served.pages.close();
    closeConnection(served.connection);
  }
}
