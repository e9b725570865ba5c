/** A page thread as the main one holds it: what it was asked and given and has not taken, and that it has ended. */
import { closeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { HandedSocket } from "../../shared/adapters/socket-handover.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { Preamble } from "../../shared/link/preamble.ts";
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
  readonly #waiting = new Map<number, PromiseWithResolvers<number>>();
  /** Descriptors of connections that are under way to it. */
  readonly #given = new Map<number, number>();
  #lastId = 0;
  #failure: string | undefined;
  readonly #gone: Promise<void>;
  #ended: ThreadEnded | undefined;

  /** `onEnd` is told why, when what was asked is about to reject. */
  constructor(worker: Worker, onEnd: (reason: string) => void) {
    this.#worker = worker;
    worker.on("message", (message: FromThread) => this.#hear(message));
    worker.on("error", (error) => (this.#failure = messageOf(error)));
    this.#gone = new Promise((resolve) => worker.once("exit", () => resolve()));
    worker.on("exit", (code) => {
      const reason = this.#failure ?? `exit code ${code}`;
      this.#ended = new ThreadEnded(reason);
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
      this.#waiting.clear();
      for (const fd of this.#given.values()) closeSync(fd);
      this.#given.clear();
      onEnd(reason);
    });
  }

  /** It takes nothing more. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Gives it a connection; one that it does not live to take is closed. */
  give(socket: HandedSocket, preamble: Preamble): void {
    const id = ++this.#lastId;
    this.#given.set(id, socket.fd);
    this.#post({ kind: "connection", id, socket, preamble });
  }

  /** Resolves with its answer. Rejects with what it says, or `ThreadEnded`. */
  ask(migrationId: string, order: Order): Promise<number> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<number>();
    this.#waiting.set(id, answer);
    this.#post({ kind: "order", id, migrationId, order });
    return answer.promise;
  }

  /** Resolves once it has ended, after what it is doing just now. */
  async stop(): Promise<void> {
    this.#post({ kind: "stop" });
    await this.#gone;
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromThread): void {
    if (message.kind === "taken") {
      this.#given.delete(message.id);
      return;
    }
    const answer = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === "done") answer?.resolve(message.pages);
    else answer?.reject(new DmigrateError(message.code, message.message));
  }
}
