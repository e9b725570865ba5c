/** A page thread as the main one holds it: what it was asked and has not answered, its connections, and that it has ended. */
import { Worker } from "node:worker_threads";
import { closeBell, makeBell, ring } from "../../shared/adapters/bell.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { closeConnection, type Connection } from "../../shared/link/connection.ts";
import type { FromThread, Order, PageThreadOptions, ToThread } from "./messages.ts";

const program = new URL("./thread.ts", import.meta.url);

export type StartWorker = (options: PageThreadOptions) => Worker;
export const startWorker: StartWorker = (workerData) => new Worker(program, { workerData });

/** The thread did not live to answer. */
export class ThreadEnded extends DmigrateError {
  constructor(reason: string) {
    super("unavailable", `a page thread of the shipper ended: ${reason}`);
  }
}

export class PageThread {
  readonly #worker: Worker;
  readonly #bell = makeBell();
  readonly #waiting = new Map<number, PromiseWithResolvers<undefined>>();
  /** That it serves, or that are on their way to it. */
  readonly #connections = new Map<number, Connection>();
  #lastId = 0;
  #failure: string | undefined;
  readonly #gone: Promise<void>;
  #ended: ThreadEnded | undefined;

  /** `onEnd` is told why, when what was asked is about to reject. Throws when there can be no thread. */
  constructor(start: StartWorker, options: Omit<PageThreadOptions, "bell">, onEnd: (reason: string) => void) {
    try {
      this.#worker = start({ ...options, bell: this.#bell });
    } catch (error) {
      closeBell(this.#bell);
      throw error;
    }
    this.#worker.on("message", (message: FromThread) => this.#hear(message));
    this.#worker.on("error", (error) => (this.#failure = messageOf(error)));
    this.#gone = new Promise((resolve) => this.#worker.once("exit", () => resolve()));
    this.#worker.on("exit", (code) => {
      const reason = this.#failure ?? `exit code ${code}`;
      this.#ended = new ThreadEnded(reason);
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
      this.#waiting.clear();
      for (const connection of this.#connections.values()) closeConnection(connection);
      this.#connections.clear();
      closeBell(this.#bell);
      onEnd(reason);
    });
  }

  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** Has it serve a connection. */
  give(migrationId: string, connection: Connection): void {
    if (this.#ended !== undefined) {
      closeConnection(connection);
      return;
    }
    const id = ++this.#lastId;
    this.#connections.set(id, connection);
    this.#post({ kind: "connection", id, migrationId, connection });
  }

  /** Resolves once it has done it. Rejects with what it says, or `ThreadEnded`. */
  ask(migrationId: string, order: Order): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<undefined>();
    this.#waiting.set(id, answer);
    this.#post({ kind: "order", id, migrationId, order });
    return answer.promise;
  }

  /** Has it look again at what it holds back. */
  nudge(): void {
    if (this.#ended === undefined) ring(this.#bell);
  }

  /** Resolves once it has ended, after what it is doing just now. */
  async stop(): Promise<void> {
    if (this.#ended === undefined) this.#post({ kind: "stop" });
    await this.#gone;
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
    ring(this.#bell);
  }

  #hear(message: FromThread): void {
    if (message.kind === "closed") {
      const connection = this.#connections.get(message.id);
      if (connection !== undefined) closeConnection(connection);
      this.#connections.delete(message.id);
      return;
    }
    const answer = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === "done") answer?.resolve(undefined);
    else answer?.reject(new DmigrateError(message.code, message.message));
  }
}
