/** The page server that is ours: a page daemon, as the agent sees it. */
import { DmigrateError } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { HeldDescriptors } from "./adapters/held-descriptors.ts";
import { attachPageDaemon, readOutcome, startPageDaemon, type DaemonProcess } from "./adapters/daemon-process.ts";
import type { FromDaemon, StartDaemon } from "./page-daemon/messages.ts";
import {
  noStats,
  type PageServer,
  type PageServerEvents,
  type PageServerStats,
  type ProcessPages,
} from "./page-server.ts";

export interface DaemonPageServerOptions extends PageServerEvents {
  /** Where the daemon works. */
  workDir: string;
  log: Log;
}

/** A daemon that has no migration yet. */
export interface UnusedDaemon {
  readonly daemon: DaemonProcess;
  readonly heard: EarlyMessages;
}

export function startUnusedDaemon(): UnusedDaemon {
  const heard = new EarlyMessages();
  return { daemon: startPageDaemon(heard.take), heard };
}

/** For the daemon to answer what it only has to look up. */
const answerTimeoutMs = 5_000;
/** For it to come up, and to reach the source. */
const startTimeoutMs = 10_000;

export class DaemonPageServer implements PageServer {
  readonly #options: DaemonPageServerOptions;
  readonly #daemon: DaemonProcess;
  #stats: PageServerStats = noStats;
  #needed = false;
  /** So that the daemon's end is not that of the memory. */
  #held: HeldDescriptors | undefined;
  #isGone = false;
  #over = false;

  private constructor(options: DaemonPageServerOptions, daemon: DaemonProcess, heard: EarlyMessages) {
    this.#options = options;
    this.#daemon = daemon;
    heard.passTo((message) => this.#hear(message));
    void daemon.ended.then((how) => this.#ended(how));
  }

  /** Gives the daemon its migration, and waits until it is connected. Throws `unavailable`, `unauthorized` or `timeout`. */
  static async start(
    start: StartDaemon,
    options: DaemonPageServerOptions,
    { daemon, heard }: UnusedDaemon,
  ): Promise<DaemonPageServer> {
    const server = new DaemonPageServer(options, daemon, heard);
    daemon.hurry();
    try {
      await server.#daemon.ask({ kind: "start", options: start }, "ready", startTimeoutMs);
      return server;
    } catch (error) {
      server.#over = true;
      await server.#daemon.kill();
      throw error;
    }
  }

  /** Takes hold of the daemon that an agent before this one has started. Throws `not-found` or `timeout`. */
  static async attach(options: DaemonPageServerOptions): Promise<DaemonPageServer> {
    const heard = new EarlyMessages();
    return new DaemonPageServer(options, await attachPageDaemon(options.workDir, heard.take), heard);
  }

  get stats(): PageServerStats {
    return this.#stats;
  }

  get needed(): boolean {
    return this.#needed;
  }

  async serve(_imagesDir: string, processes: readonly ProcessPages[]): Promise<void> {
    await this.#daemon.ask({ kind: "serve", processes }, "serving", answerTimeoutMs);
  }

  async stop(force: boolean): Promise<boolean> {
    if (this.#over) {
      // Of a daemon that has died: threads wait for what it had, and would read zeros.
      if (!force && this.#held?.dropDead() === true) return false;
      this.#letGoAll();
      return true;
    }
    // It alone knows, and one that is too busy to answer is needed.
    if (!force && (await this.#refusesToStop())) return false;
    // It may have died meanwhile.
    if (!force && this.#isGone && this.#held?.dropDead() === true) return false;
    this.#over = true;
    await this.#daemon.kill();
    this.#letGoAll();
    return true;
  }

  leave(): Promise<void> {
    this.#over = true;
    // First: once it hears that this side is gone it counts on nobody.
    this.#letGoAll();
    this.#daemon.leave();
    return Promise.resolve();
  }

  #letGoAll(): void {
    this.#held?.close();
    this.#held = undefined;
  }

  #hold(id: number, fd: number): void {
    const { pid } = this.#daemon;
    if (pid === undefined || this.#over) return;
    try {
      this.#held ??= new HeldDescriptors(pid);
      this.#held.hold(id, fd);
    } catch (error) {
      // Without it the migration goes on as well.
      this.#options.log.warn({ err: error }, "a descriptor of the page daemon could not be duplicated");
    }
  }

  #refusesToStop(): Promise<boolean> {
    return this.#daemon.ask({ kind: "stop", force: false }, "refused", answerTimeoutMs).then(
      () => true,
      // Whatever else it says meanwhile: it is not needed when it has gone.
      () => !this.#isGone,
    );
  }

  #hear(message: FromDaemon): void {
    const { log, onDrained, onFailure } = this.#options;
    switch (message.kind) {
      case "stats":
        this.#stats = message.stats;
        break;
      case "needed":
        this.#needed = true;
        break;
      case "link":
        if (message.lost === undefined) log.info("the link to the source is back");
        else log.warn({ reason: message.lost }, "the link to the source is lost; trying again");
        break;
      case "hold":
        this.#hold(message.id, message.fd);
        break;
      case "letGo":
        this.#held?.letGo(message.id);
        this.#daemon.send({ kind: "letGone", id: message.id });
        break;
      case "cached":
        if (!this.#over) this.#options.onCached();
        break;
      case "drained":
        this.#stats = message.stats;
        this.#needed = false;
        if (!this.#over) onDrained(message.drainMs);
        this.#over = true;
        void this.#daemon.kill();
        this.#letGoAll();
        break;
      case "failed":
        if (!this.#over) onFailure(new DmigrateError(message.code, message.message));
        break;
      case "rehearsed":
      case "ready":
      case "serving":
      case "refused":
      case "attached":
        break;
    }
  }

  #ended(how: string): void {
    this.#isGone = true;
    if (this.#over) return;
    this.#over = true;
    // Its last word may have come too late to be heard.
    const outcome = readOutcome(this.#options.workDir);
    if (outcome === undefined) {
      const isHeld = this.#held?.dropDead() === true;
      // What is held tells, too, that processes are there, should the word of that have been lost.
      this.#options.onFailure(daemonLost(`the page daemon ended with ${how}`, this.#needed || isHeld, isHeld));
    } else {
      this.#letGoAll();
      this.#stats = outcome.stats;
      this.#options.onDrained(outcome.drainMs);
    }
  }
}

/**
 * What is to be said when a page daemon is gone, and processes here may have been in need of it. `isHeld`: their
 * userfaultfds are not, as long as this agent lives.
 */
export function daemonLost(what: string, needed: boolean, isHeld: boolean): DmigrateError {
  if (!needed) return new DmigrateError("restore-failed", what);
  const advice = isHeld
    ? "threads of the container on this node wait for pages that do not come any more, and would read zeros once this agent ends: remove it"
    : "where pages were missing, the container on this node has read zeros since: remove it, and do not trust what it wrote";
  return new DmigrateError("restore-failed", `${what}; ${advice}`, {
    reasons: [{ code: memoryGone, message: advice }],
  });
}

/** Of a failure by which processes here lack pages for good: the reason's code. */
export const memoryGone = "memory-gone";

/** What the daemon says before there is somebody to listen. */
export class EarlyMessages {
  #waiting: FromDaemon[] = [];
  #hear: ((message: FromDaemon) => void) | undefined;

  readonly take = (message: FromDaemon): void => {
    if (this.#hear === undefined) this.#waiting.push(message);
    else this.#hear(message);
  };

  passTo(hear: (message: FromDaemon) => void): void {
    this.#hear = hear;
    for (const message of this.#waiting.splice(0)) hear(message);
  }
}
