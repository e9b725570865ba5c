/**
 * The shipper's page threads, as the main thread sees them: connections and orders go to them. One that dies, which it
 * should not, is replaced and told again what it must know; its connections are gone, and the destinations make new ones.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../shared/errors.ts";
import type { Connection } from "../shared/link/connection.ts";
import type { Log, LogLevel } from "../shared/log.ts";
import { PageCounters } from "./page-thread/counters.ts";
import { pageRoles, type OpenedMemory, type Order, type PageRole } from "./page-thread/messages.ts";
import { PageThread, startWorker, ThreadEnded, type StartWorker } from "./page-thread/page-thread.ts";

const restartPauseMs = 100;

/** What the threads know of a transfer. */
interface Known {
  counters: Readonly<Record<PageRole, PageCounters>>;
  memory: Order | undefined;
}

export class PageThreads {
  readonly #log: Log;
  readonly #known = new Map<string, Known>();
  readonly #startWorker: StartWorker;
  readonly #threads: Record<PageRole, PageThread>;
  /** Settled, never rejected, once there is a thread again. */
  readonly #replaced = new Map<PageRole, Promise<void>>();
  #stopped = false;

  constructor(log: Log, start: StartWorker = startWorker) {
    this.#log = log;
    this.#startWorker = start;
    this.#threads = { pages: this.#start("pages"), faults: this.#start("faults") };
  }

  /** Connections of its transfer may come. */
  begin(migrationId: string): void {
    const known: Known = {
      counters: { pages: new PageCounters(), faults: new PageCounters() },
      memory: undefined,
    };
    this.#known.set(migrationId, known);
    for (const role of pageRoles) this.#tell(role, migrationId, beginOf(known, role));
  }

  /** Requests are answered from this memory once it resolves. Rejects with `invalid-request` when it is not the container's. */
  async open(migrationId: string, memory: OpenedMemory): Promise<void> {
    await this.#toAll(migrationId, { kind: "open", ...memory });
  }

  /** Whoever asks for pages is told that they are gone. */
  async lose(migrationId: string, why: string): Promise<void> {
    await this.#toAll(migrationId, { kind: "lose", why });
  }

  /** Sends the destination frames that say which pages there are, if it is connected. */
  async tell(migrationId: string, frames: readonly Buffer[]): Promise<void> {
    await this.#order("pages", migrationId, { kind: "tell", frames });
  }

  /** Closes the connections and the memory. */
  end(migrationId: string): void {
    if (!this.#known.delete(migrationId)) return;
    for (const role of pageRoles) this.#tell(role, migrationId, { kind: "end" });
  }

  /** What was sent, over connections of both roles. */
  countersOf(migrationId: string): Readonly<Record<PageRole, PageCounters>> | undefined {
    return this.#known.get(migrationId)?.counters;
  }

  /**
   * Gives a connection to the thread that serves its role, or that will: to close it would only have the destination make
   * the next one at once.
   */
  attach(migrationId: string, role: PageRole, connection: Connection): void {
    const give = (): void => this.#threads[role].give(migrationId, connection);
    if (this.#threads[role].hasEnded) void Promise.resolve(this.#replaced.get(role)).then(give);
    else give();
  }

  /** Ends the threads, and with them what they serve. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(Object.values(this.#threads).map((thread) => thread.stop()));
  }

  async #toAll(migrationId: string, order: Order): Promise<void> {
    const known = this.#known.get(migrationId);
    await Promise.all(pageRoles.map((role) => this.#order(role, migrationId, order)));
    if (known !== undefined) known.memory = order;
  }

  /** For what the thread that comes after this one is told anyway. */
  #tell(role: PageRole, migrationId: string, order: Order): void {
    this.#threads[role].ask(migrationId, order).catch(() => undefined);
  }

  /** What a thread does not live to answer, the next one is asked. */
  async #order(role: PageRole, migrationId: string, order: Order): Promise<void> {
    try {
      await this.#threads[role].ask(migrationId, order);
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      await this.#replaced.get(role);
      await this.#threads[role].ask(migrationId, order);
    }
  }

  #start(role: PageRole): PageThread {
    const options = { role, logLevel: this.#log.level as LogLevel };
    return new PageThread(this.#startWorker, options, (reason) => {
      if (!this.#stopped) this.#replaced.set(role, this.#replace(role, reason));
    });
  }

  async #replace(role: PageRole, reason: string): Promise<void> {
    this.#log.error({ role, reason }, "a page thread failed; it is started anew");
    for (const { counters } of this.#known.values()) counters[role].links = 0;
    let thread: PageThread | undefined;
    while (thread === undefined) {
      await sleep(restartPauseMs);
      if (this.#stopped) return;
      thread = this.#tryStart(role);
    }
    this.#threads[role] = thread;
    for (const [migrationId, known] of this.#known)
      for (const order of [beginOf(known, role), known.memory])
        if (order !== undefined) thread.ask(migrationId, order).catch((error: unknown) => this.#report(error));
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

const beginOf = ({ counters }: Known, role: PageRole): Order => ({ kind: "begin", counters: counters[role].memory });
