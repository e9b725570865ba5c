/**
 * The pager of one migration.
 *
 *     ready ──serve()──> serving ──CRIU has every page──> drained
 *       └──────────────────┴─────────failure────────────> failed
 *
 * Invariant: from CRIU's first request on, processes may be running here on pages that only the source has. From then on
 * nothing here ends CRIU but its own success, or `remove(true)`.
 */
import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import type { CreatePager, Pager as PagerReport, PageSource, PagerState } from "../shared/contracts/pager.ts";
import { pageBytes } from "../shared/core/page-server/codec.ts";
import type { LayoutName } from "../shared/core/page-server/layout.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import type { MigrationPaths } from "../shared/node-paths.ts";
import { recordSpan, withSpan } from "../shared/telemetry.ts";
import { readLazyPages } from "./adapters/images.ts";
import { startLazyPages, type LazyPages } from "./adapters/lazy-pages.ts";
import { createSocketPair, type SocketPair } from "./adapters/socket-pair.ts";
import { PageBroker } from "./core/page-broker.ts";
import { PageSession } from "./page-session.ts";

export interface PagerDeps {
  criu: string;
  layout: LayoutName;
  paths: MigrationPaths;
  source: PageSource;
  log: Log;
}

/** How long CRIU may take to take connections; it needs a few milliseconds. */
const readyTimeoutMs = 10_000;
/** How long CRIU may take to notice that the processes are gone. */
const endGraceMs = 2_000;

export class Pager {
  readonly request: CreatePager;
  readonly #deps: PagerDeps;
  readonly #pair: SocketPair;
  readonly #broker: PageBroker;
  readonly #session: PageSession;
  readonly #settled = Promise.withResolvers<undefined>();
  #state: PagerState = "ready";
  #error: string | undefined;
  #pagesTotal = 0;
  #serveMs: number | undefined;
  #drainMs: number | undefined;
  #serving: Promise<void> | undefined;
  #child: LazyPages | undefined;
  #removed = false;

  private constructor(request: CreatePager, deps: PagerDeps, pair: SocketPair) {
    this.request = request;
    this.#deps = deps;
    this.#pair = pair;
    const chunkPages = Math.floor(request.chunkBytes / pageBytes);
    this.#broker = new PageBroker({ windowBytes: request.windowBytes, chunkPages });
    this.#session = new PageSession({
      socket: pair.ours,
      layout: deps.layout,
      broker: this.#broker,
      source: deps.source,
      now: () => performance.now(),
      onFailure: (error) => this.#fail(error),
    });
    deps.source.closed.then(
      () => this.#fail(new DmigrateError("transfer-failed", "the connection to the source was closed")),
      (error: unknown) => this.#fail(error),
    );
  }

  /** Prepares all that can be prepared before the container is frozen. */
  static async create(request: CreatePager, deps: PagerDeps): Promise<Pager> {
    const { workDir } = deps.paths;
    await mkdir(workDir, { recursive: true, mode: 0o700 });
    // Two answers fit: one that CRIU reads, and the next. More would only be more that a fault can't overtake.
    return new Pager(request, deps, createSocketPair(2 * request.chunkBytes));
  }

  get state(): PagerState {
    return this.#state;
  }

  report(): PagerReport {
    const session = this.#session;
    return {
      migrationId: this.request.migrationId,
      state: this.#state,
      ...(this.#error !== undefined && { error: this.#error }),
      pagesTotal: this.#pagesTotal,
      pagesFaulted: session.pagesFaulted,
      pagesPrefetched: session.pagesPrefetched,
      zeroPages: session.zeroPages,
      faults: session.faultLatency.count,
      faultLatencyMs: session.faultLatency.summary(),
      bytesReceived: this.#deps.source.bytesReceived,
      ...(this.#serveMs !== undefined && { serveMs: this.#serveMs }),
      ...(this.#drainMs !== undefined && { drainMs: this.#drainMs }),
    };
  }

  /** Brings up CRIU's page daemon on the images. Resolves when a restore may connect to it; again, with the same. */
  serve(): Promise<void> {
    return (this.#serving ??= withSpan("criu lazy-pages", {}, () => this.#serve()).finally(() => {
      // Nothing was begun, so it may be tried again.
      if (this.#state === "ready") this.#serving = undefined;
    }));
  }

  /** Resolves when the pager is drained or has failed, or after `waitMs`. */
  async wait(waitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)));
    await Promise.race([this.#settled.promise, timeout]);
    clearTimeout(timer);
  }

  /**
   * Ends everything. Throws `conflict` when processes restored here may still need pages from the source, unless
   * `force`: without their pages they would go on with zeros in their memory.
   */
  async remove(force: boolean): Promise<void> {
    const child = this.#child;
    if (child !== undefined && this.#session.firstRequestAt !== undefined && !force) {
      if (!(await endsWithin(child, endGraceMs)))
        throw new DmigrateError(
          "conflict",
          `processes of migration ${this.request.migrationId} on this node still need pages from the source; ` +
            "wait until drained, or remove the container here first, then ask again (?force=true ends the pager all the same)",
        );
    }
    this.#removed = true;
    this.#session.stop();
    this.#pair.closeTheirs();
    this.#deps.source.close();
    await child?.kill();
    this.#settled.resolve(undefined);
  }

  async #serve(): Promise<void> {
    const started = performance.now();
    const { criu, paths, log } = this.#deps;
    if (this.#state !== "ready")
      throw new DmigrateError("conflict", `the pager is ${this.#state}: ${this.#error ?? "it cannot serve"}`);
    const { imagesDir, workDir } = paths;
    // Started first: the images are decoded while CRIU's process comes up.
    await access(imagesDir, constants.R_OK).catch((cause: unknown) => {
      throw new DmigrateError("conflict", `there are no images in ${imagesDir} yet`, { cause });
    });
    const child = startLazyPages({ criu, imagesDir, workDir, pair: this.#pair });
    this.#child = child;
    void child.ended.then((error) => this.#ended(error));
    try {
      await Promise.all([this.#learnPages(imagesDir), within(child.ready, readyTimeoutMs)]);
    } catch (error) {
      this.#fail(error);
      await child.kill();
      throw error;
    }
    this.#become("serving");
    this.#serveMs = performance.now() - started;
    log.info({ pid: child.pid, pagesTotal: this.#pagesTotal, serveMs: this.#serveMs }, "criu lazy-pages is ready");
  }

  async #learnPages(imagesDir: string): Promise<void> {
    for (const { pid, ranges } of await readLazyPages(imagesDir)) {
      this.#broker.addProcess(pid, ranges);
      this.#pagesTotal += ranges.reduce((sum, { pages }) => sum + pages, 0);
    }
  }

  /** CRIU ended: after success every page is here, or the processes that needed them are gone. */
  #ended(error: DmigrateError | undefined): void {
    if (this.#removed) return;
    const since = this.#session.firstRequestAt;
    if (error === undefined && this.#session.closedByCriu) {
      const drainMs = since === undefined ? 0 : performance.now() - since;
      this.#drainMs = drainMs;
      recordSpan("criu lazy-pages drain", Date.now() - drainMs, Date.now(), { "dmigrate.pages": this.#pagesTotal });
      this.#become("drained");
      this.#session.stop();
      this.#deps.source.close();
      this.#deps.log.info(this.report(), "drained");
      return;
    }
    const text = error?.message ?? "criu lazy-pages ended before it had every page";
    const code = error?.code ?? "restore-failed";
    this.#fail(
      since === undefined
        ? new DmigrateError(code, text, { cause: error })
        : new DmigrateError(code, `${text}; the memory of the container on this node is not whole: remove it`, {
            cause: error,
          }),
    );
    this.#session.stop();
  }

  #fail(cause: unknown): void {
    if (this.#removed || this.#state === "drained" || this.#state === "failed") return;
    const error = asDmigrateError(cause, "transfer-failed", "the pages did not get here");
    this.#error = messageOf(error);
    this.#deps.log.error({ err: error }, "the pager failed");
    this.#become("failed");
  }

  #become(state: PagerState): void {
    // A failure while CRIU came up stays one.
    if (this.#state === "failed" || this.#state === "drained") return;
    this.#state = state;
    if (state === "drained" || state === "failed") this.#settled.resolve(undefined);
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
