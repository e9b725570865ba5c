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
  /**
   * The source stays away; told once each time. It is looked for all the same, since threads may wait for what it alone has;
   * but for one that makes each connection useless.
   */
  onFailure: (error: DmigrateError) => void;
}

const firstPauseMs = 100;
const longestPauseMs = 2_000;
/** A connection that is lost before is of no use; so many of them in a row are no accident. */
const steadyMs = 1_000;
const mostHasty = 10;

export class PageDialer {
  readonly #options: PageDialerOptions;
  #connection: Connection | undefined;
  #connectedAt = -Infinity;
  #isDialing = false;
  /** When connections were lost that had hardly been made, since the last one that lasted. */
  #hastyLosses = 0;
  #hastySince = 0;

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
    try {
      this.#options.onConnection(connection);
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  /** Nobody uses the connection any more: closes it, and makes another one, or says that it can't. */
  async lost(reason: string): Promise<void> {
    const { onLink, onFailure, reconnectMs, signal } = this.#options;
    this.#close();
    if (signal.aborted) return;
    onLink(reason);
    // It may be lost while it is handed over: then whoever made it makes the next one. Two at it would make two.
    if (this.#isDialing) return;
    if (this.#isHopeless()) {
      const text = `no connection to the source has lasted ${steadyMs / 1000} s for ${reconnectMs / 1000} s: ${reason}`;
      onFailure(new DmigrateError("unavailable", text));
      return;
    }
    this.#isDialing = true;
    const deadline = performance.now() + reconnectMs;
    // One that is lost again and again is not made again without end in no time.
    if (performance.now() - this.#connectedAt < firstPauseMs) await sleep(firstPauseMs);
    const isOver = (): boolean => signal.aborted;
    let isTold = false;
    for (let pauseMs = firstPauseMs; !isOver(); pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      const error = await this.connect().then(() => undefined, messageOf);
      if (isOver()) return;
      if (this.#connection !== undefined) {
        // In the turn that looks: who loses this one is to make the next.
        this.#isDialing = false;
        onLink(undefined);
        return;
      }
      if (!isTold && performance.now() + pauseMs > deadline) {
        isTold = true;
        const text = `the source stayed away for ${reconnectMs / 1000} s: ${error ?? "it closes each connection at once"}`;
        onFailure(new DmigrateError("unavailable", text));
      }
      await sleep(pauseMs);
    }
  }

  /** Counts the loss: whoever makes each connection useless at once is not asked for another one without end. */
  #isHopeless(): boolean {
    const now = performance.now();
    if (now - this.#connectedAt >= steadyMs) this.#hastyLosses = 0;
    if (this.#hastyLosses === 0) this.#hastySince = now;
    this.#hastyLosses += 1;
    return this.#hastyLosses > mostHasty && now - this.#hastySince > this.#options.reconnectMs;
  }

  #close(): void {
    if (this.#connection !== undefined) closeConnection(this.#connection);
    this.#connection = undefined;
  }
}
