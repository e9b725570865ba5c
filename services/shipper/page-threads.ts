/**
 * The shipper's page threads, as the main thread sees them: connections and orders go to them. One that dies, which it
 * should not, is replaced and told again what it must know; its connections are gone, and the destinations make new ones.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { takeOut } from "../shared/adapters/socket-handover.ts";
import type { FrozenProcess } from "../shared/contracts/dumper.ts";
import type { CreateTransfer } from "../shared/contracts/shipper.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log, LogLevel } from "../shared/log.ts";
import type { TakeAway } from "./adapters/data-listener.ts";
import { PageCounters } from "./page-thread/counters.ts";
import {
  pageRoles,
  type FromThread,
  type OpenedMemory,
  type Order,
  type PageRole,
  type PageThreadOptions,
  type ToThread,
} from "./page-thread/messages.ts";

const program = new URL("./page-thread/thread.ts", import.meta.url);
const restartPauseMs = 100;

/** What the threads know of a transfer. */
interface Known {
  begin: Pick<CreateTransfer, "secret" | "security">;
  counters: Readonly<Record<PageRole, PageCounters>>;
  memory: Order | undefined;
}

export class PageThreads {
  readonly #log: Log;
  readonly #startWorker: (options: PageThreadOptions) => Worker;
  readonly #known = new Map<string, Known>();
  readonly #threads = new Map<PageRole, PageThread>();
  #stopped = false;

  /** `startWorker` is for tests, which end the workers. */
  constructor(log: Log, startWorker = (options: PageThreadOptions) => new Worker(program, { workerData: options })) {
    this.#log = log;
    this.#startWorker = startWorker;
    for (const role of pageRoles) this.#threads.set(role, this.#start(role));
  }

  /** Connections of its transfer may come. */
  begin({ migrationId, secret, security }: Pick<CreateTransfer, "migrationId" | "secret" | "security">): void {
    const known: Known = {
      begin: { secret, security },
      counters: { pages: new PageCounters(), faults: new PageCounters() },
      memory: undefined,
    };
    this.#known.set(migrationId, known);
    // A thread that ends instead is replaced, and the next one is told.
    for (const role of pageRoles) this.#order(role, migrationId, beginOf(known, role)).catch(() => undefined);
  }

  /** Requests are answered from this memory once it resolves. Rejects with `invalid-request` when it is not the container's. */
  async open(migrationId: string, memory: OpenedMemory): Promise<void> {
    await this.#toAll(migrationId, { kind: "open", ...memory });
  }

  /** Whoever asks for pages is told that they are gone. */
  async lose(migrationId: string, why: string): Promise<void> {
    await this.#toAll(migrationId, { kind: "lose", why });
  }

  /** Tells the destination which pages there are. Resolves with how many; 0 when it is not connected. */
  announce(migrationId: string, processes: readonly FrozenProcess[]): Promise<number> {
    return this.#order("pages", migrationId, { kind: "announce", processes });
  }

  /** Closes the connections and the memory. */
  end(migrationId: string): void {
    if (!this.#known.delete(migrationId)) return;
    for (const role of pageRoles) void this.#order(role, migrationId, { kind: "end" }).catch(() => undefined);
  }

  /** What was sent, over connections of both roles. */
  countersOf(migrationId: string): Readonly<Record<PageRole, PageCounters>> | undefined {
    return this.#known.get(migrationId)?.counters;
  }

  /** Gives a connection to the thread that serves its role. */
  readonly takeAway: TakeAway = (socket, preamble) => {
    if (preamble.role === "files") return false;
    this.#threads.get(preamble.role)?.post({ kind: "connection", socket: takeOut(socket), preamble });
    return true;
  };

  /** Ends the threads, and with them what they serve. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#threads.values()].map((thread) => thread.stop()));
  }

  async #toAll(migrationId: string, order: Order): Promise<void> {
    const known = this.#known.get(migrationId);
    await Promise.all(pageRoles.map((role) => this.#order(role, migrationId, order)));
    if (known !== undefined) known.memory = order;
  }

  #order(role: PageRole, migrationId: string, order: Order): Promise<number> {
    const thread = this.#threads.get(role);
    return thread?.ask(migrationId, order) ?? Promise.reject(new DmigrateError("unavailable", "no page thread"));
  }

  #start(role: PageRole): PageThread {
    const logLevel = this.#log.level as LogLevel;
    return new PageThread(this.#startWorker({ role, logLevel }), (reason) => void this.#replace(role, reason));
  }

  async #replace(role: PageRole, reason: string): Promise<void> {
    if (this.#stopped) return;
    this.#log.error({ role, reason }, "a page thread failed; it is started anew");
    await sleep(restartPauseMs);
    if (this.#isStopped()) return;
    const thread = this.#start(role);
    this.#threads.set(role, thread);
    for (const [migrationId, known] of this.#known) {
      known.counters[role].links = 0;
      for (const order of [beginOf(known, role), known.memory])
        if (order !== undefined) thread.ask(migrationId, order).catch((error: unknown) => this.#report(error));
    }
  }

  #report(error: unknown): void {
    this.#log.error({ reason: messageOf(error) }, "a page thread does not serve what the one before it did");
  }

  #isStopped(): boolean {
    return this.#stopped;
  }
}

const beginOf = ({ begin, counters }: Known, role: PageRole): Order => ({
  kind: "begin",
  ...begin,
  counters: counters[role].memory,
});

/** One thread, and what it was asked and has not answered. */
class PageThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<number>>();
  #lastId = 0;
  #reason: string | undefined;
  #gone: DmigrateError | undefined;
  readonly #ended: Promise<void>;

  constructor(worker: Worker, onEnd: (reason: string) => void) {
    this.#worker = worker;
    this.#worker.on("message", (message: FromThread) => this.#hear(message));
    this.#worker.on("error", (error) => (this.#reason = messageOf(error)));
    this.#ended = new Promise((resolve) => this.#worker.once("exit", () => resolve()));
    this.#worker.on("exit", (code) => {
      this.#reason ??= `exit code ${code}`;
      this.#gone = new DmigrateError("unavailable", `a page thread of the shipper ended: ${this.#reason}`);
      for (const { reject } of this.#waiting.values()) reject(this.#gone);
      this.#waiting.clear();
      onEnd(this.#reason);
    });
  }

  post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  /** Resolves with its answer. */
  ask(migrationId: string, order: Order): Promise<number> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<number>();
    this.#waiting.set(id, answer);
    this.post({ kind: "order", id, migrationId, order });
    return answer.promise;
  }

  /** Resolves once it has ended. */
  async stop(): Promise<void> {
    this.post({ kind: "stop" });
    await this.#ended;
  }

  #hear(message: FromThread): void {
    const answer = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === "done") answer?.resolve(message.pages);
    else answer?.reject(new DmigrateError(message.code, message.message));
  }
}
