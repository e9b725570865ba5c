/** The pagers of this node, one per migration: create, find, remove. Those of an agent before this one are taken over. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { openRecordFiles, type RecordFiles } from "../shared/adapters/record-files.ts";
import type { CreatePager, PageSource } from "../shared/contracts/pager.ts";
import type { Endpoint } from "../shared/contracts/common.ts";
import { layoutOf } from "../shared/core/page-server/layout.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { migrationPaths } from "../shared/node-paths.ts";
import { requireLazyPages } from "./adapters/criu.ts";
import { pagerRecordSchema, type PagerRecord } from "./core/pager-record.ts";
import { CriuPageServer } from "./criu-page-server.ts";
import { DaemonPageServer, startUnusedDaemon } from "./daemon-page-server.ts";
import type { PageServerEvents } from "./page-server.ts";
import { Pager, type PagerDeps } from "./pager.ts";
import { SpareDaemon } from "./spare-daemon.ts";
import { takeOverServer } from "./take-over.ts";

/**
 * Connects to the source's data port. Rejects when it cannot be reached, or refuses the secret. Aborting the signal closes
 * the connection, also later.
 */
export type ConnectPages = (options: {
  migrationId: string;
  secret: string;
  source: Endpoint;
  signal: AbortSignal;
}) => Promise<PageSource>;

/** Who serves the pages: our own daemon, or CRIU's, which is slower. */
export const pageServerKinds = ["userfaultfd", "criu"] as const;
export type PageServerKind = (typeof pageServerKinds)[number];

export interface PagersDeps {
  criu: string;
  stateDir: string;
  log: Log;
  serveWith: PageServerKind;
  /** How long a link that is lost while pages are missing may stay away, with our own daemon. */
  reconnectMs: number;
  /** For CRIU's. */
  connectPages: ConnectPages;
}

const connectTimeoutMs = 10_000;
const restockMs = 1_000;
/** Whoever follows a migration learns for so long that it failed. */
const keepFailedMs = 24 * 60 * 60 * 1000;

export class Pagers {
  readonly #deps: PagersDeps;
  readonly #pagers = new Map<string, Promise<Pager>>();
  readonly #records: RecordFiles<PagerRecord>;
  readonly #spare = new SpareDaemon(startUnusedDaemon);

  constructor(deps: PagersDeps) {
    this.#deps = deps;
    this.#records = openRecordFiles(join(deps.stateDir, "pagers"), pagerRecordSchema, deps.log);
    for (const record of this.#records.readAll()) {
      const { migrationId } = record.request;
      deps.log.warn({ migrationId }, "taking over a pager of an earlier run");
      this.#pagers.set(migrationId, this.#takeOver(record));
    }
    if (deps.serveWith === "userfaultfd") this.#spare.restock(this.#pagers.size === 0);
    // Ahead of need, as that is; each migration meets what is wrong itself.
    requireLazyPages(deps.criu).catch(() => undefined);
  }

  /** Connects a new pager to its source; asked again with the same request, gives the one that is there. */
  async create(request: CreatePager): Promise<Pager> {
    const { migrationId } = request;
    const known = this.#pagers.get(migrationId);
    if (known !== undefined) {
      const pager = await known;
      if (isDeepStrictEqual(pager.request, request)) return pager;
      throw new DmigrateError("conflict", `migration ${migrationId} has a pager with other settings; delete it first`);
    }
    void this.#forgetFailed();
    const connecting = this.#connect(request);
    this.#pagers.set(migrationId, connecting);
    try {
      return await connecting;
    } catch (error) {
      this.#pagers.delete(migrationId);
      this.#restock();
      throw error;
    }
  }

  /** Throws `not-found`. */
  async get(migrationId: string): Promise<Pager> {
    const pager = await this.#pagers.get(migrationId);
    if (pager === undefined)
      throw new DmigrateError(
        "not-found",
        `migration ${migrationId} has no pager on this node; POST /pagers makes one`,
      );
    return pager;
  }

  /** False when there was none. Throws `conflict`; see Pager.remove. */
  async remove(migrationId: string, force: boolean): Promise<boolean> {
    const pager = await this.#pagers.get(migrationId)?.catch(() => undefined);
    if (pager === undefined) return false;
    await pager.remove(force);
    this.#records.remove(migrationId);
    this.#restock();
    return this.#pagers.delete(migrationId);
  }

  /**
   * Removes those that failed long ago, and that nobody has removed. One that is drained stays until its planner comes back,
   * however late: it would take one that is gone for memory that is lost.
   */
  async #forgetFailed(): Promise<void> {
    for (const [migrationId, connecting] of [...this.#pagers]) {
      const pager = await connecting.catch(() => undefined);
      if (pager?.failedAt === undefined || Date.now() - pager.failedAt < keepFailedMs) continue;
      try {
        await this.remove(migrationId, false);
        await rm(migrationPaths(this.#deps.stateDir, migrationId).dir, { recursive: true, force: true });
      } catch (error) {
        // Processes here may need it still.
        this.#deps.log.warn({ migrationId, reason: messageOf(error) }, "a pager that failed long ago stays");
      }
    }
  }

  /** Ends what nobody needs; what processes here depend on goes on without this process, and is found again by the next. */
  async stop(): Promise<void> {
    await this.#spare.stop();
    await Promise.all(
      [...this.#pagers].map(async ([migrationId, connecting]) => {
        const pager = await connecting.catch(() => undefined);
        if (pager === undefined) return;
        if (pager.state === "ready") this.#records.remove(migrationId);
        await pager
          .leave()
          .catch((error: unknown) => this.#deps.log.error({ err: error, migrationId }, "a page server was not left"));
      }),
    );
  }

  /** Later: just now the processors of this node have the rest of a migration to do. */
  #restock(): void {
    if (this.#deps.serveWith !== "userfaultfd") return;
    setTimeout(() => this.#spare.restock(this.#pagers.size === 0), restockMs).unref();
  }

  async #connect(request: CreatePager): Promise<Pager> {
    const deps = this.#pagerDeps(request);
    return Pager.create(request, {
      ...deps,
      startServer: (events) =>
        this.#deps.serveWith === "criu"
          ? this.#startCriu(request, deps.paths.workDir, events)
          : this.#startDaemon(request, deps.paths.workDir, deps.log, events),
    });
  }

  async #takeOver(record: PagerRecord): Promise<Pager> {
    const deps = this.#pagerDeps(record.request);
    const startServer: PagerDeps["startServer"] = (events) =>
      takeOverServer(record, deps.paths.workDir, deps.log, events);
    return Pager.takeOver(record, { ...deps, startServer });
  }

  #pagerDeps({ migrationId }: CreatePager): Omit<PagerDeps, "startServer"> {
    return {
      paths: migrationPaths(this.#deps.stateDir, migrationId),
      log: this.#deps.log.child({ migrationId }),
      note: (record) => this.#records.write(migrationId, record),
    };
  }

  async #startDaemon(
    request: CreatePager,
    workDir: string,
    log: Log,
    events: PageServerEvents,
  ): Promise<DaemonPageServer> {
    const { earlyBytes = request.windowBytes } = request;
    const { criu, reconnectMs } = this.#deps;
    const daemon = { ...request, earlyBytes, workDir, reconnectMs };
    const usable = requireLazyPages(criu);
    usable.catch(() => undefined); // met below
    const server = await DaemonPageServer.start(daemon, { workDir, log, ...events }, this.#spare.take());
    try {
      await usable;
    } catch (error) {
      await server.stop(true);
      throw error;
    }
    return server;
  }

  async #startCriu(request: CreatePager, workDir: string, events: PageServerEvents): Promise<CriuPageServer> {
    const { criu, connectPages } = this.#deps;
    const { migrationId, secret, source, windowBytes, chunkBytes, whole } = request;
    if (whole)
      throw new DmigrateError(
        "invalid-request",
        "CRIU's page daemon cannot fetch all memory before the restore; use mode post-copy, or DMIGRATE_PAGER=userfaultfd",
      );
    // Not AbortSignal.timeout: the connection lives on under this signal.
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), connectTimeoutMs);
    try {
      const layout = layoutOf(await requireLazyPages(criu));
      const pages = await connectPages({ migrationId, secret, source, signal: abort.signal });
      return new CriuPageServer({ criu, layout, workDir, windowBytes, chunkBytes, source: pages, ...events });
    } catch (error) {
      abort.abort();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}
