/**
 * The shipper's page threads, as the main thread sees them: connections and orders go to them. There is one for faults,
 * and one for each reader, as soon as a transfer has so many. One that dies, which it should not, is replaced and told
 * again what it must know; its connections are gone, and the destinations make new ones.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { closeConnection, type Connection } from "../shared/link/connection.ts";
import { readerRoles } from "../shared/link/preamble.ts";
import type { Log, LogLevel } from "../shared/log.ts";
import { PageCounters } from "./page-thread/counters.ts";
import type { OpenedMemory, Order, PageRole } from "./page-thread/messages.ts";
import { PageGate } from "./page-thread/page-gate.ts";
import { PageThread, startWorker, ThreadEnded, type StartWorker } from "./page-thread/page-thread.ts";

const restartPauseMs = 100;

export interface BeginPages {
  /** Whose ends connections may come from. */
  readers?: number;
  /** The plan has it that memory is compressed; what each connection measures decides. */
  compresses?: boolean;
}

/** What the threads know of a transfer. */
interface Known {
  compresses: boolean;
  counters: ReadonlyMap<PageRole, PageCounters>;
  gate: PageGate;
  memory: Order | undefined;
  link: Order | undefined;
}

/** One of the threads; in its place comes the next one when it dies. */
interface Place {
  thread: PageThread;
  /** Settled, never rejected, once there is a thread again. */
  replaced: Promise<void> | undefined;
}

export class PageThreads {
  readonly #log: Log;
  readonly #known = new Map<string, Known>();
  readonly #startWorker: StartWorker;
  readonly #places = new Map<PageRole, Place>();
  #stopped = false;

  constructor(log: Log, start: StartWorker = startWorker) {
    this.#log = log;
    this.#startWorker = start;
    // Ahead of need.
    for (const role of rolesFor(1)) this.#place(role);
  }

  /** Connections of its transfer may come. Throws when a further thread cannot be had. */
  begin(migrationId: string, { readers = 1, compresses = false }: BeginPages = {}): void {
    const roles = rolesFor(readers);
    for (const role of roles) this.#place(role);
    const counters = new Map(roles.map((role) => [role, new PageCounters()]));
    const gate = new PageGate();
    const known: Known = { compresses, counters, gate, memory: undefined, link: undefined };
    this.#known.set(migrationId, known);
    for (const [role, each] of counters) this.#tell(role, migrationId, beginOf(each, known));
  }

  /** Requests are answered from this memory once it resolves. Rejects with `invalid-request` when it is not the container's. */
  async open(migrationId: string, memory: OpenedMemory): Promise<void> {
    await this.#toAll(migrationId, { kind: "open", ...memory });
  }

  /** Whoever asks for pages is told that they are gone. */
  async lose(migrationId: string, why: string): Promise<void> {
    await this.#toAll(migrationId, { kind: "lose", why });
  }

  /** The link was measured, and carries so much of all connections together. */
  noteLink(migrationId: string, bytesPerSecond: number): void {
    const known = this.#known.get(migrationId);
    if (known === undefined) return;
    // Faults take hardly any of it.
    const readers = known.counters.size - 1;
    known.link = { kind: "link", bytesPerSecond: bytesPerSecond / readers };
    for (const role of known.counters.keys()) if (role !== "faults") this.#tell(role, migrationId, known.link);
  }

  /** Sends the destination frames that say which pages there are, if it is connected. */
  async tell(migrationId: string, frames: readonly Buffer[]): Promise<void> {
    await this.#order("pages", migrationId, { kind: "tell", frames });
  }

  /** Closes the connections and the memory. */
  end(migrationId: string): void {
    const known = this.#known.get(migrationId);
    if (known === undefined) return;
    this.#known.delete(migrationId);
    for (const role of known.counters.keys()) this.#tell(role, migrationId, { kind: "end" });
  }

  /** While it is so, pages that nobody waits for stay back: what the resume waits for has the link to itself. */
  holdBack(migrationId: string, isHeld: boolean): void {
    const known = this.#known.get(migrationId);
    if (isHeld) known?.gate.close();
    else if (known?.gate.open() === true) for (const role of known.counters.keys()) this.#placeOf(role).thread.nudge();
  }

  /** What was sent over the connections of each role; empty when the transfer is not known. */
  countersOf(migrationId: string): ReadonlyMap<PageRole, PageCounters> {
    return this.#known.get(migrationId)?.counters ?? new Map();
  }

  /**
   * Gives a connection to the thread that serves its role, or that will: to close it would only have the destination make
   * the next one at once. One of a reader that the transfer does not have is closed.
   */
  attach(migrationId: string, role: PageRole, connection: Connection): void {
    const place = this.#places.get(role);
    if (place === undefined || !this.countersOf(migrationId).has(role)) {
      closeConnection(connection);
      return;
    }
    const give = (): void => place.thread.give(migrationId, connection);
    if (place.thread.hasEnded) void Promise.resolve(place.replaced).then(give);
    else give();
  }

  /** Ends the threads, and with them what they serve. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#places.values()].map(({ thread }) => thread.stop()));
  }

  async #toAll(migrationId: string, order: Order): Promise<void> {
    const known = this.#known.get(migrationId);
    if (known === undefined) throw new DmigrateError("not-found", `there is no transfer ${migrationId} here`);
    const before = known.memory;
    // Before they have done it: one may die right after, and the next is to know.
    known.memory = order;
    try {
      await Promise.all([...known.counters.keys()].map((role) => this.#order(role, migrationId, order)));
    } catch (error) {
      known.memory = before;
      throw error;
    }
  }

  /** For what the thread that comes after this one is told anyway. */
  #tell(role: PageRole, migrationId: string, order: Order): void {
    this.#placeOf(role)
      .thread.ask(migrationId, order)
      .catch(() => undefined);
  }

  /** What a thread does not live to answer, the next one is asked. */
  async #order(role: PageRole, migrationId: string, order: Order): Promise<void> {
    const place = this.#placeOf(role);
    try {
      await place.thread.ask(migrationId, order);
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      await place.replaced;
      await place.thread.ask(migrationId, order);
    }
  }

  #placeOf(role: PageRole): Place {
    const place = this.#places.get(role);
    if (place === undefined) throw new Error(`there is no page thread ${role}`);
    return place;
  }

  /** Starts the thread of a role, if there is none. */
  #place(role: PageRole): void {
    if (this.#places.has(role)) return;
    this.#places.set(role, { thread: this.#start(role), replaced: undefined });
  }

  #start(role: PageRole): PageThread {
    const options = { role, logLevel: this.#log.level as LogLevel };
    return new PageThread(this.#startWorker, options, (reason) => {
      if (!this.#stopped) this.#placeOf(role).replaced = this.#replace(role, reason);
    });
  }

  async #replace(role: PageRole, reason: string): Promise<void> {
    this.#log.error({ role, reason }, "a page thread failed; it is started anew");
    for (const { counters } of this.#known.values()) {
      const lost = counters.get(role);
      if (lost !== undefined) lost.links = 0;
    }
    let thread: PageThread | undefined;
    while (thread === undefined) {
      await sleep(restartPauseMs);
      if (this.#stopped) return;
      thread = this.#tryStart(role);
    }
    this.#placeOf(role).thread = thread;
    for (const [migrationId, known] of this.#known) {
      const own = known.counters.get(role);
      if (own === undefined) continue;
      for (const order of [beginOf(own, known), known.link, known.memory])
        if (order !== undefined) thread.ask(migrationId, order).catch((error: unknown) => this.#report(error));
    }
  }

  /** Undefined when there is just now no room for one, or no descriptor. */
  #tryStart(role: PageRole): PageThread | undefined {
    try {
      return this.#start(role);
    } catch (error) {
      this.#log.error({ role, reason: messageOf(error) }, "a page thread could not be started; trying again");
      return undefined;
    }
  }

  #report(error: unknown): void {
    this.#log.error({ reason: messageOf(error) }, "a page thread does not serve what the one before it did");
  }
}

const rolesFor = (readers: number): PageRole[] => ["faults", ...readerRoles.slice(0, readers)];
const beginOf = (counters: PageCounters, { gate, compresses }: Known): Order => ({
  ...{ kind: "begin", counters: counters.memory, gate: gate.memory, compresses },
});
