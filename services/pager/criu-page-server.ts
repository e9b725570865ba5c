/** The page server that is CRIU's: `criu lazy-pages` asks, page-session.ts answers out of the source's memory. */
import type { PageSource } from "../shared/contracts/pager.ts";
import { pageBytes } from "../shared/core/page-server/codec.ts";
import type { LayoutName } from "../shared/core/page-server/layout.ts";
import { DmigrateError } from "../shared/errors.ts";
import { startLazyPages, type LazyPages } from "./adapters/lazy-pages.ts";
import { createSocketPair, type SocketPair } from "./adapters/socket-pair.ts";
import { PageBroker } from "./core/page-broker.ts";
import type { PageServer, PageServerEvents, PageServerStats, ProcessPages } from "./page-server.ts";
import { PageSession } from "./page-session.ts";

export interface CriuPageServerOptions extends PageServerEvents {
  criu: string;
  layout: LayoutName;
  workDir: string;
  windowBytes: number;
  chunkBytes: number;
  source: PageSource;
}

/** How long CRIU may take to take connections; it needs a few milliseconds. */
const readyTimeoutMs = 10_000;
/** How long CRIU may take to notice that the processes are gone. */
const endGraceMs = 2_000;
/** A drain under way may take this long to end when this process is told to. */
const leaveDrainMs = 30_000;

export class CriuPageServer implements PageServer {
  readonly #options: CriuPageServerOptions;
  readonly #pair: SocketPair;
  readonly #broker: PageBroker;
  readonly #session: PageSession;
  #child: LazyPages | undefined;
  #stopped = false;

  constructor(options: CriuPageServerOptions) {
    const { windowBytes, chunkBytes, source, layout } = options;
    this.#options = options;
    // Two answers fit: one that CRIU reads, and the next. More would only be more that a fault can't overtake.
    this.#pair = createSocketPair(2 * chunkBytes);
    this.#broker = new PageBroker({ windowBytes, chunkPages: Math.floor(chunkBytes / pageBytes) });
    this.#session = new PageSession({
      socket: this.#pair.ours,
      layout,
      broker: this.#broker,
      source,
      now: () => performance.now(),
      onFailure: (error) => this.#fail(error),
    });
    source.closed.then(
      () => this.#fail(new DmigrateError("transfer-failed", "the connection to the source was closed")),
      (error: unknown) => this.#fail(error),
    );
  }

  get stats(): PageServerStats {
    const { pagesFaulted, pagesPrefetched, zeroPages, faultLatency } = this.#session;
    return {
      pagesFaulted,
      pagesPrefetched,
      zeroPages,
      faults: faultLatency.count,
      faultLatencyMs: faultLatency.summary(),
      bytesReceived: this.#options.source.bytesReceived,
      pagesHeld: 0,
      pagesAnnounced: 0,
      pagesAwaited: 0,
    };
  }

  get needed(): boolean {
    return this.#child !== undefined && this.#session.firstRequestAt !== undefined;
  }

  async serve(imagesDir: string, processes: readonly ProcessPages[]): Promise<void> {
    const { criu, workDir } = this.#options;
    for (const { pid, ranges } of processes) this.#broker.addProcess(pid, ranges);
    const child = startLazyPages({ criu, imagesDir, workDir, pair: this.#pair });
    this.#child = child;
    void child.ended.then((error) => this.#ended(error));
    try {
      await within(child.ready, readyTimeoutMs);
    } catch (error) {
      await child.kill();
      throw error;
    }
  }

  async stop(force: boolean): Promise<boolean> {
    const child = this.#child;
    if (child !== undefined && this.needed && !force && !(await endsWithin(child, endGraceMs))) return false;
    this.#stopped = true;
    this.#session.stop();
    this.#pair.closeTheirs();
    this.#options.source.close();
    await child?.kill();
    return true;
  }

  async leave(): Promise<void> {
    if (this.#child !== undefined) await endsWithin(this.#child, leaveDrainMs);
  }

  /** CRIU ended: after success every page is here, or the processes that needed them are gone. */
  #ended(error: DmigrateError | undefined): void {
    if (this.#stopped) return;
    const since = this.#session.firstRequestAt;
    this.#session.stop();
    if (error === undefined && this.#session.closedByCriu) {
      this.#stopped = true;
      this.#options.source.close();
      this.#options.onDrained(since === undefined ? 0 : performance.now() - since);
      return;
    }
    const text = error?.message ?? "criu lazy-pages ended before it had every page";
    const advice = since === undefined ? "" : "; the memory of the container on this node is not whole: remove it";
    this.#fail(new DmigrateError(error?.code ?? "restore-failed", text + advice, { cause: error }));
  }

  #fail(error: unknown): void {
    if (!this.#stopped) this.#options.onFailure(error);
  }
}

async function within(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new DmigrateError("timeout", `criu lazy-pages was not ready within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function endsWithin(child: LazyPages, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  const ended = await Promise.race([child.ended.then(() => true as const), timeout]);
  clearTimeout(timer);
  return ended;
}
