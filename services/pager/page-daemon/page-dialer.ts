/** Keeps one connection to the source's memory: makes it, and makes it anew when whoever uses it says that it is lost. */
import { setTimeout as sleep } from "node:timers/promises";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { closeConnection, type Connection } from "../../shared/link/connection.ts";
import { dial, type DialOptions } from "../../shared/link/dial.ts";

export interface PageDialerOptions extends DialOptions {
  /** How long a lost link may stay away. */
  reconnectMs: number;
  /** A connection to use from now on; it is closed once that is told to be lost. */
  onConnection: (connection: Connection) => void;
  /** With a reason when the link is lost, without when it is back. */
  onLink: (lost: string | undefined) => void;
  /** The source stays away. */
  onFailure: (error: DmigrateError) => void;
}

const firstPauseMs = 100;
const longestPauseMs = 2_000;

export class PageDialer {
  readonly #options: PageDialerOptions;
  #connection: Connection | undefined;
  #connectedAt = -Infinity;

  constructor(options: PageDialerOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => this.#close(), { once: true });
  }

  /** Connects once. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(): Promise<void> {
    const connection = await dial(this.#options);
    if (this.#options.signal.aborted) {
      closeConnection(connection);
      throw new DmigrateError("cancelled", "the connection to the source was cancelled");
    }
    this.#connection = connection;
    this.#connectedAt = performance.now();
    this.#options.onConnection(connection);
  }

  /** Nobody uses the connection any more: closes it, and makes another one, or says that it can't. */
  async lost(reason: string): Promise<void> {
    const { onLink, onFailure, reconnectMs, signal } = this.#options;
    this.#close();
    if (signal.aborted) return;
    onLink(reason);
    const deadline = performance.now() + reconnectMs;
    // One that is lost again and again is not made again without end in no time.
    if (performance.now() - this.#connectedAt < firstPauseMs) await sleep(firstPauseMs);
    const isOver = (): boolean => signal.aborted;
    for (let pauseMs = firstPauseMs; !isOver(); pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        await this.connect();
        // Unless that one was lost while it was handed over.
        if (this.#connection !== undefined) onLink(undefined);
        return;
      } catch (error) {
        if (isOver()) return;
        if (performance.now() + pauseMs > deadline) {
          const text = `the source stayed away for ${reconnectMs / 1000} s: ${messageOf(error)}`;
          onFailure(new DmigrateError("unavailable", text));
          return;
        }
        await sleep(pauseMs);
      }
    }
  }

  #close(): void {
    if (this.#connection !== undefined) closeConnection(this.#connection);
    this.#connection = undefined;
  }
}
