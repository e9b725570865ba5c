/**
 * The pager of one migration.
 *
 *     ready ──serve()──> serving ──nothing is missing──> drained
 *       └──────────────────┴──────────failure──────────> failed
 *
 * Invariant: once the restore has finished, processes may be running here on pages that only the source has. From then on
 * nothing here ends the page server but its own success, or `remove(true)`.
 */
import { memoryGone } from "./daemon-page-server.ts";
import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import type { CreatePager, Pager as PagerReport, PagerState } from "../shared/contracts/pager.ts";
import { untilReached } from "../shared/adapters/milestone.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import type { MigrationPaths } from "../shared/node-paths.ts";
import { recordSpan, withSpan } from "../shared/telemetry.ts";
import { readLazyPages } from "./adapters/images.ts";
import type { PagerRecord } from "./core/pager-record.ts";
import type { PageServer, PageServerEvents } from "./page-server.ts";

export interface PagerDeps {
  paths: MigrationPaths;
  log: Log;
  /** Keeps what an agent that comes after this one must know. */
  note: (record: PagerRecord) => void;
  /** Connected to the source, and ready to be told what to serve. */
  startServer: (events: PageServerEvents) => Promise<PageServer>;
}

export class Pager {
  readonly request: CreatePager;
  readonly #paths: MigrationPaths;
  readonly #log: Log;
  readonly #note: PagerDeps["note"];
  readonly #server: PageServer;
  readonly #settled: PromiseWithResolvers<undefined>;
  readonly #whole = Promise.withResolvers<undefined>();
  #cached = false;
  #state: PagerState = "ready";
  #error: string | undefined;
  #isMemoryGone = false;
  #pagesTotal = 0;
  #serveMs: number | undefined;
  #drainMs: number | undefined;
  #serving: Promise<void> | undefined;
  #removed = false;
  #failedAt: number | undefined;

  private constructor(request: CreatePager, { paths, log, note }: PagerDeps, server: PageServer) {
    this.request = request;
    this.#paths = paths;
    this.#log = log;
    this.#note = note;
    this.#server = server;
    this.#settled = Promise.withResolvers<undefined>();
  }

  /** Prepares all that can be prepared before the container is frozen. */
  static async create(request: CreatePager, deps: PagerDeps): Promise<Pager> {
    await mkdir(deps.paths.workDir, { recursive: true, mode: 0o700 });
    const pager = await Pager.#withServer(request, deps);
    deps.note({ request, pagesTotal: 0 });
    return pager;
  }

  /** The pager of an agent before this one; `startServer` takes hold of what it has left. */
  static async takeOver({ request, pagesTotal, serveMs }: PagerRecord, deps: PagerDeps): Promise<Pager> {
    const pager = await Pager.#withServer(request, deps);
    pager.#pagesTotal = pagesTotal;
    pager.#serveMs = serveMs;
    // What its server has told by now comes after this.
    pager.#become("serving");
    return pager;
  }

  static async #withServer(request: CreatePager, deps: PagerDeps): Promise<Pager> {
    // The server may fail before there is a pager to tell: the link may be lost that early.
    const created = Promise.withResolvers<Pager>();
    const server = await deps.startServer({
      onCached: () => void created.promise.then((pager) => pager.#isCached()),
      onDrained: (drainMs) => void created.promise.then((pager) => pager.#drained(drainMs)),
      onFailure: (error) => void created.promise.then((pager) => pager.#fail(error)),
    });
    const pager = new Pager(request, deps, server);
    // After whoever waits for the pager has it.
    setImmediate(() => created.resolve(pager));
    return pager;
  }

  get state(): PagerState {
    return this.#state;
  }

  /** Epoch milliseconds: since when it has failed. */
  get failedAt(): number | undefined {
    return this.#failedAt;
  }

  report(): PagerReport {
    return {
      migrationId: this.request.migrationId,
      state: this.#state,
      ...(this.#error !== undefined && { error: this.#error }),
      ...(this.#isMemoryGone && { memoryGone: true }),
      cached: this.#cached,
      pagesTotal: this.#pagesTotal,
      ...this.#server.stats,
      ...(this.#serveMs !== undefined && { serveMs: this.#serveMs }),
      ...(this.#drainMs !== undefined && { drainMs: this.#drainMs }),
    };
  }

  /** Resolves once the images are on this node. Rejects when `signal` aborts. */
  untilReceived(signal: AbortSignal): Promise<void> {
    return untilReached(this.#paths.receivedMark, signal);
  }

  /** Tells the page server what the images lack. Resolves when a restore may connect to it; again, with the same. */
  serve(): Promise<void> {
    return (this.#serving ??= withSpan("serve pages", {}, () => this.#serve()).finally(() => {
      // Nothing was begun, so it may be tried again.
      if (this.#state === "ready") this.#serving = undefined;
    }));
  }

  /** Resolves when the pager is so far or has failed, or after `waitMs`. */
  async wait(until: "cached" | "drained", waitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)));
    const reached = until === "cached" ? [this.#whole.promise] : [];
    await Promise.race([...reached, this.#settled.promise, timeout]);
    clearTimeout(timer);
  }

  /**
   * Ends everything. Throws `conflict` when processes restored here may still need pages from the source, unless
   * `force`: without their pages they would go on with zeros in their memory.
   */
  async remove(force: boolean): Promise<void> {
    if (!(await this.#server.stop(force)))
      throw new DmigrateError(
        "conflict",
        `processes of migration ${this.request.migrationId} on this node still need pages from the source; ` +
          "wait until drained, or remove the container here first, then ask again (?force=true ends the pager all the same)",
      );
    this.#removed = true;
    this.#settled.resolve(undefined);
  }

  /** This process ends: ends what nobody needs, and lets go of the rest. What an agent after it must know stays. */
  async leave(): Promise<void> {
    if (!(await this.#server.stop(false))) await this.#server.leave();
    this.#removed = true;
    this.#settled.resolve(undefined);
  }

  async #serve(): Promise<void> {
    const started = performance.now();
    if (this.#state !== "ready")
      throw new DmigrateError("conflict", `the pager is ${this.#state}: ${this.#error ?? "it cannot serve"}`);
    const { imagesDir } = this.#paths;
    await access(imagesDir, constants.R_OK).catch((cause: unknown) => {
      throw new DmigrateError("conflict", `there are no images in ${imagesDir} yet`, { cause });
    });
    try {
      const processes = await readLazyPages(imagesDir);
      for (const { ranges } of processes) for (const { pages } of ranges) this.#pagesTotal += pages;
      await this.#server.serve(imagesDir, processes);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    this.#become("serving");
    this.#serveMs = performance.now() - started;
    this.#note({ request: this.request, pagesTotal: this.#pagesTotal, serveMs: this.#serveMs });
    this.#log.info({ pagesTotal: this.#pagesTotal, serveMs: this.#serveMs }, "ready to serve pages");
  }

  #isCached(): void {
    this.#cached = true;
    this.#whole.resolve(undefined);
  }

  #drained(drainMs: number): void {
    this.#drainMs = drainMs;
    recordSpan("drain pages", Date.now() - drainMs, Date.now(), { "dmigrate.pages": this.#pagesTotal });
    this.#become("drained");
    this.#log.info(this.report(), "drained");
  }

  #fail(cause: unknown): void {
    if (this.#removed || this.#state === "drained" || this.#state === "failed") return;
    const error = asDmigrateError(cause, "transfer-failed", "the pages did not get here");
    this.#error = messageOf(error);
    this.#isMemoryGone = error.reasons.some(({ code }) => code === memoryGone);
    this.#failedAt = Date.now();
    this.#log.error({ err: error }, "the pager failed");
    this.#become("failed");
  }

  #become(state: PagerState): void {
    // A failure while the server came up stays one; but whatever was said to have failed, with all pages there it has not.
    if (this.#state === "drained" || (this.#state === "failed" && state !== "drained")) return;
    this.#state = state;
    if (state === "drained") this.#error = this.#failedAt = undefined;
    if (state === "drained" || state === "failed") this.#settled.resolve(undefined);
  }
}
