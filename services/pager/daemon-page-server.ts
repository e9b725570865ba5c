/** The page server that is ours: a page daemon, as the agent sees it. */
import { DmigrateError } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { startPageDaemon, type DaemonProcess } from "./adapters/daemon-process.ts";
import { LatencyHistogram } from "./core/latency-histogram.ts";
import type { FromDaemon, StartDaemon } from "./page-daemon/messages.ts";
import type { PageServer, PageServerEvents, PageServerStats, ProcessPages } from "./page-server.ts";

export interface DaemonPageServerOptions extends PageServerEvents {
  daemon: StartDaemon;
  log: Log;
}

/** For the daemon to answer what it only has to look up. */
const answerTimeoutMs = 5_000;
/** For it to start and to reach the source. */
const startTimeoutMs = 10_000;

export class DaemonPageServer implements PageServer {
  readonly #options: DaemonPageServerOptions;
  readonly #child: DaemonProcess;
  #stats: PageServerStats = {
    pagesFaulted: 0,
    pagesPrefetched: 0,
    zeroPages: 0,
    faults: 0,
    faultLatencyMs: new LatencyHistogram().summary(),
    bytesReceived: 0,
  };
  #needed = false;
  #over = false;

  private constructor(options: DaemonPageServerOptions) {
    this.#options = options;
    this.#child = startPageDaemon((message) => this.#hear(message));
    void this.#child.ended.then((how) => this.#childEnded(how));
  }

  /** Starts the daemon, and waits until it is connected. Throws `unavailable`, `unauthorized` or `timeout`. */
  static async start(options: DaemonPageServerOptions): Promise<DaemonPageServer> {
    const server = new DaemonPageServer(options);
    try {
      await server.#child.ask({ kind: "start", options: options.daemon }, "ready", startTimeoutMs);
      return server;
    } catch (error) {
      server.#over = true;
      await server.#child.kill();
      throw error;
    }
  }

  get stats(): PageServerStats {
    return this.#stats;
  }

  get needed(): boolean {
    return this.#needed;
  }

  async serve(_imagesDir: string, processes: readonly ProcessPages[]): Promise<void> {
    await this.#child.ask({ kind: "serve", processes }, "serving", answerTimeoutMs);
  }

  async stop(force: boolean): Promise<boolean> {
    if (this.#over) return true;
    // It alone knows, and one that is too busy to answer is needed.
    if (!force && (await this.#refusesToStop())) return false;
    this.#over = true;
    await this.#child.kill();
    return true;
  }

  #refusesToStop(): Promise<boolean> {
    return this.#child.ask({ kind: "stop", force: false }, "refused", answerTimeoutMs).then(
      () => true,
      (error: unknown) => error instanceof DmigrateError && error.code === "timeout",
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
      case "cached":
        if (!this.#over) this.#options.onCached();
        break;
      case "drained":
        this.#stats = message.stats;
        this.#needed = false;
        if (!this.#over) onDrained(message.drainMs);
        this.#over = true;
        void this.#child.kill();
        break;
      case "failed":
        if (!this.#over) onFailure(new DmigrateError(message.code, message.message));
        break;
      case "ready":
      case "serving":
      case "refused":
        break;
    }
  }

  #childEnded(how: string): void {
    if (this.#over) return;
    this.#over = true;
    const advice = this.#needed ? "; the memory of the container on this node is not whole: remove it" : "";
    this.#options.onFailure(new DmigrateError("restore-failed", `the page daemon ended with ${how}${advice}`));
  }
}
