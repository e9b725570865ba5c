/**
 * One page daemon ahead of need: to start a Node and to load the code takes longer than anything else in a migration's
 * preparation. A daemon serves one migration; the next spare is started when a migration is over, not while one is under
 * way and needs the processors. There is one spare at most, and two migrations at once cost the second its start.
 */
import type { UnusedDaemon } from "./daemon-page-server.ts";

/** On a busy node. */
const rehearsalTimeoutMs = 60_000;

export class SpareDaemon {
  readonly #start: () => UnusedDaemon;
  #spare: UnusedDaemon | undefined;
  #stopped = false;

  constructor(start: () => UnusedDaemon) {
    this.#start = start;
  }

  /** Starts the spare, if there is none. It rehearses, which takes seconds of processors' time, if nobody needs these now. */
  restock(isQuiet: boolean): void {
    if (this.#spare !== undefined || this.#stopped) return;
    const spare = this.#start();
    this.#spare = spare;
    // One that could not has ended.
    if (isQuiet) spare.daemon.ask({ kind: "rehearse" }, "rehearsed", rehearsalTimeoutMs).catch(() => undefined);
    // One that has ended is nobody's; it is not replaced before the next occasion, lest a broken one be started for ever.
    void spare.daemon.ended.then(() => {
      if (this.#spare === spare) this.#spare = undefined;
    });
  }

  /** The spare, or a new one: the caller's from now on. */
  take(): UnusedDaemon {
    const taken = this.#spare ?? this.#start();
    this.#spare = undefined;
    return taken;
  }

  /** Ends the spare. No further one is started; `take` goes on working. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const spare = this.#spare;
    this.#spare = undefined;
    await spare?.daemon.kill();
  }
}
