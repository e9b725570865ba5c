/**
 * The source's side of one migration: what is sent over the connections of the destination. Those for files are served
 * here, those for pages by threads of their own (page-threads.ts).
 *
 *     probe · image · first pass · pre-copy · next pass (the container runs)
 *     memory, pages on request · delta · images (it is frozen)
 *
 * The container's log comes at any time, the last of it when the container has ended here.
 */
import { timingSafeEqual } from "node:crypto";
import type Docker from "dockerode";
import { findFreezer } from "../shared/adapters/cgroup.ts";
import { readProcess } from "../shared/adapters/processes.ts";
import type { FrozenProcess } from "../shared/contracts/dumper.ts";
import type {
  CreateTransfer,
  LinkProbe,
  LinkSecurity,
  OpenMemory,
  Precopy,
  ShipImage,
  Shipped,
  Transfer as TransferReport,
} from "../shared/contracts/shipper.ts";
import { untilReached } from "../shared/adapters/milestone.ts";
import { DmigrateError } from "../shared/errors.ts";
import { holdLess } from "../shared/link/connect.ts";
import type { Connection } from "../shared/link/connection.ts";
import type { Role } from "../shared/link/preamble.ts";
import { migrationPaths } from "../shared/node-paths.ts";
import { withSpan } from "../shared/telemetry.ts";
import type { RecordFiles } from "../shared/adapters/record-files.ts";
import { findSourceTrees, type SourceTrees } from "./adapters/container-trees.ts";
import { saveImage } from "./adapters/image.ts";
import type { Attachable } from "./adapters/data-listener.ts";
import { SourceLog } from "./adapters/source-log.ts";
import { announceMemory } from "./announce-memory.ts";
import { FileJobs } from "./file-jobs.ts";
import { FileLinks } from "./file-links.ts";
import { isPassDue, type PassOverFiles } from "./core/passes.ts";
import type { TransferRecord } from "./core/transfer-record.ts";
import type { TreeEntry } from "./core/tree-diff.ts";
import type { PageCounters } from "./page-thread/counters.ts";
import type { PageThreads } from "./page-threads.ts";
import { probeLink } from "./probe-link.ts";
import { shipAgain, shipAll, shipChanges, type Pass, type PassOptions, type SentTrees } from "./ship-trees.ts";
import { SharedMemory } from "./shared-memory.ts";
import { shipImages, type PagesThere } from "./ship-images.ts";

export interface TransferDeps {
  docker: Docker;
  stateDir: string;
  dataPort: number;
  pageThreads: PageThreads;
  /** What an agent that comes after this one must know. */
  records: RecordFiles<TransferRecord>;
}

/** How long a job waits for the destination to connect. */
const connectWaitMs = 5_000;

export class Transfer implements Attachable {
  readonly request: CreateTransfer;
  readonly key: Buffer;
  readonly security: LinkSecurity;
  readonly #deps: TransferDeps;
  readonly #ended = new AbortController();
  readonly #jobs: FileJobs;
  readonly #log: SourceLog;
  /** Passes over the log take turns. */
  #logPass: Promise<unknown> = Promise.resolve();
  #trees: SourceTrees | undefined;
  /** What the last pass sent, tree by tree; the next one sends what differs. */
  #sent: SentTrees | undefined;
  /** What large files showed when they were sent last. */
  #seen = new Map<TreeEntry, string>();
  /** Memory that processes share, as it was sent while the container ran; and what of it has not changed at the freeze. */
  #shared: SharedMemory | undefined;
  #passUnderWay = false;
  readonly #links = new FileLinks();
  #filesSent = 0;
  readonly #connected = new EventTarget();

  constructor(request: CreateTransfer, deps: TransferDeps) {
    this.request = request;
    this.key = Buffer.from(request.secret, "hex");
    this.security = request.security;
    this.#deps = deps;
    this.#jobs = new FileJobs(request.compression === "zstd", (isWaiting) =>
      deps.pageThreads.holdBack(request.migrationId, isWaiting),
    );
    this.#log = new SourceLog(deps.docker, request.containerId);
    deps.pageThreads.begin(request.migrationId, {
      readers: request.readers,
      compresses: request.compression === "zstd",
    });
    if (request.linkBytesPerSecond !== undefined) this.#noteLink(request.linkBytesPerSecond);
  }

  /** Whether a repeated request is the same one. */
  isSame(request: CreateTransfer): boolean {
    const { secret, containerId, volumes, binds, readers, compression, security } = this.request;
    const sameSecret = timingSafeEqual(Buffer.from(secret), Buffer.from(request.secret));
    const same =
      containerId === request.containerId &&
      readers === request.readers &&
      compression === request.compression &&
      security === request.security &&
      JSON.stringify([volumes, binds]) === JSON.stringify([request.volumes, request.binds]);
    return sameSecret && same;
  }

  attach(role: Role, connection: Connection): void {
    if (role !== "files") {
      const { chunkBytes } = this.request;
      if (chunkBytes !== undefined) holdLess(connection.fd, chunkBytes);
      this.#deps.pageThreads.attach(this.request.migrationId, role, connection);
      return;
    }
    this.#links.add(connection, (link) => this.#jobs.attach(link));
    this.#connected.dispatchEvent(new Event("connected"));
  }

  report(): TransferReport {
    const counters = [...this.#deps.pageThreads.countersOf(this.request.migrationId).values()];
    const sum = (of: (counter: PageCounters) => number): number => counters.reduce((all, each) => all + of(each), 0);
    return {
      migrationId: this.request.migrationId,
      dataPort: this.#deps.dataPort,
      connected: this.#jobs.open,
      bytesSent: this.#links.bytesSent + sum((each) => each.bytesSent),
      pagesSent: sum((each) => each.pagesSent),
      zeroPages: sum((each) => each.zeroPages),
      equalPages: sum((each) => each.equalPages),
      filesSent: this.#filesSent,
    };
  }

  /** Measures what the connections carry. Throws `transfer-failed` when nothing comes through, or `cancelled`. */
  async probe(signal: AbortSignal): Promise<LinkProbe> {
    const bounded = this.#bounded(signal);
    const jobs = await this.#whenConnected(bounded);
    const probe = await probeLink(jobs, bounded);
    this.#noteLink(probe.bytesPerSecond);
    return probe;
  }

  #noteLink(bytesPerSecond: number): void {
    this.#jobs.noteLink(bytesPerSecond);
    this.#deps.pageThreads.noteLink(this.request.migrationId, bytesPerSecond);
  }

  /** Sends the image as `docker save` writes it, without the layers that the destination has. */
  shipImage({ imageId, imageRef, layersPresent }: ShipImage, signal: AbortSignal): Promise<Shipped> {
    return this.#job(signal, (jobs, bounded) =>
      // Before the files, which wait for it at the destination.
      jobs.run({ kind: "image", imageId, imageRef, layersLeftOut: layersPresent }, 3, bounded, (job) =>
        saveImage(this.#deps.docker, { imageId, layersPresent }, job),
      ),
    );
  }

  /** Sends the writable layer, the volumes and the memory that processes share while the container runs. */
  firstPass(signal: AbortSignal): Promise<Shipped> {
    return this.#pass(signal, async (jobs, bounded) => {
      const { containerId, volumes, binds } = this.request;
      // What an earlier pass has sent counts no more once this one has begun to write over it.
      this.#remember(undefined);
      this.#trees = await findSourceTrees(this.#deps.docker, containerId, { volumes, binds });
      this.#seen = new Map();
      const options = { jobs, ...this.#trees, priority: 4, signal: bounded } as const;
      const passes: PassOverFiles[] = [];
      const { files, sent } = await this.#timed(passes, () => shipAll(options));
      return this.#over(sent, async () => {
        const again = await this.#whileDue(passes, options, sent);
        await this.#shipShared(jobs, options.freezer.processes(), bounded);
        return files + again;
      });
    });
  }

  /** Sends the files that have changed since the last pass, while the container runs on. Throws `conflict` without a first one. */
  nextPass(signal: AbortSignal): Promise<Shipped> {
    return this.#pass(signal, (jobs, bounded) => {
      const { trees, sent } = this.#sentBefore();
      return this.#over(sent, () => this.#whileDue([], { jobs, ...trees, priority: 4, signal: bounded }, sent));
    });
  }

  /** Sends more over what was sent, which counts no more when that fails. */
  async #over(sent: SentTrees, send: () => Promise<number>): Promise<Pass> {
    try {
      return { files: await send(), sent };
    } catch (error) {
      sent.watched?.watch.close();
      throw error;
    }
  }

  /** One pass after another, each over what the container has changed during the one before: how many files they sent. */
  async #whileDue(passes: PassOverFiles[], options: PassOptions, sent: SentTrees): Promise<number> {
    let all = 0;
    while (isPassDue(passes)) {
      const files = await this.#timed(passes, () => shipAgain(options, sent, this.#seen));
      if (files === undefined) break;
      all += files;
    }
    return all;
  }

  async #timed<T>(passes: PassOverFiles[], work: () => Promise<T>): Promise<T> {
    const [started, bytesBefore] = [performance.now(), this.report().bytesSent];
    const result = await work();
    passes.push({ ms: performance.now() - started, bytes: this.report().bytesSent - bytesBefore });
    return result;
  }

  /** What the last pass has sent; it is not known any more what the destination has, until this one is over. */
  #sentBefore(): { trees: SourceTrees; sent: SentTrees } {
    const [trees, sent] = [this.#trees, this.#sent];
    if (trees === undefined || sent === undefined)
      throw new DmigrateError("conflict", "there was no first pass over the files; POST …/first-pass comes first");
    this.#sent = undefined;
    return { trees, sent };
  }

  async #shipShared(jobs: FileJobs, hostPids: readonly number[], signal: AbortSignal): Promise<void> {
    this.#forgetShared();
    const shared = SharedMemory.open(hostPids);
    if (shared === undefined) return;
    try {
      await withSpan("shared memory", {}, () => shared.send(jobs, signal));
    } catch (error) {
      shared.close();
      throw error;
    }
    this.#shared = shared;
    if (this.#ended.signal.aborted) this.#forgetShared();
  }

  #forgetShared(): void {
    this.#shared?.close();
    this.#shared = undefined;
  }

  /** Sends what the container's log has more than at the last time; `urgent`: the resume waits for it. */
  shipLog(urgent: boolean, signal: AbortSignal): Promise<Shipped> {
    const pass = this.#logPass.then(() =>
      this.#job(signal, (jobs, bounded) => {
        bounded.throwIfAborted();
        return this.#log.send(jobs, urgent ? 1 : 4, bounded);
      }),
    );
    this.#logPass = pass.catch(() => undefined);
    return pass;
  }

  /** Sends what changed since the last pass; the container is frozen. */
  delta(signal: AbortSignal): Promise<Shipped> {
    return this.#pass(signal, (jobs, bounded) => {
      const { trees, sent } = this.#sentBefore();
      return shipChanges({ jobs, ...trees, priority: 1, signal: bounded }, sent);
    });
  }

  /** Resolves once the dumper of this node has sealed the checkpoint. Rejects when the transfer ends, or `signal` aborts. */
  untilSealed(signal: AbortSignal): Promise<void> {
    const { sealedMark } = migrationPaths(this.#deps.stateDir, this.request.migrationId);
    return untilReached(sealedMark, AbortSignal.any([signal, this.#ended.signal]));
  }

  /** Which pages of shared memory the destination has as they are; the container is frozen. */
  async compareShared(signal: AbortSignal): Promise<PagesThere> {
    const shared = this.#shared;
    if (shared === undefined || this.#trees === undefined) return new Map();
    const processes = this.#trees.freezer.processes();
    // What is compared once is used up: nobody keeps the container frozen until another time.
    this.#shared = undefined;
    try {
      return await withSpan("compare shared memory", {}, () => shared.unchanged(processes, this.#bounded(signal)));
    } finally {
      shared.close();
    }
  }

  /** Sends the CRIU images that the dump has written, without the pages that are `there`. */
  shipImages(there: PagesThere, signal: AbortSignal): Promise<Shipped> {
    const { imagesDir } = migrationPaths(this.#deps.stateDir, this.request.migrationId);
    return this.#job(signal, (jobs, bounded) => shipImages(jobs, imagesDir, there, bounded));
  }

  #bounded(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#ended.signal]);
  }

  /**
   * Pre-copy: opens the memory of the running container, and tells the destination which pages there are. What it then
   * asks for is provisional. Throws `conflict` when the container does not run, or the pager is not connected.
   */
  async precopy(): Promise<Precopy> {
    const { containerId, migrationId } = this.request;
    const { pageThreads } = this.#deps;
    const { State } = await this.#deps.docker.getContainer(containerId).inspect();
    if (!State.Running) throw new DmigrateError("conflict", `container ${containerId.slice(0, 12)} does not run`);
    if ((pageThreads.countersOf(migrationId).get("pages")?.links ?? 0) === 0)
      throw new DmigrateError("conflict", "the destination's pager is not connected; POST /pagers comes first");
    const processes = findFreezer(State.Pid)
      .processes()
      .map(readProcess)
      .flatMap((process) => (process === undefined || process.state === "Z" ? [] : [process]))
      .map(({ innerPid, hostPid }) => ({ pid: innerPid, hostPid }));
    await pageThreads.open(migrationId, { containerId, processes, provisional: true });
    return { pagesAnnounced: await this.#announce(processes) };
  }

  /**
   * Opens the frozen processes' memory: page requests are answered from it from now on, also by an agent that comes after
   * this one, until the transfer is removed.
   */
  async openMemory({ processes, announce }: OpenMemory): Promise<TransferReport> {
    const { containerId, migrationId } = this.request;
    const { pageThreads, records } = this.#deps;
    await pageThreads.open(migrationId, { containerId, processes, provisional: false });
    this.#ended.signal.throwIfAborted();
    records.write(migrationId, { request: this.request, processes: [...processes] });
    // Those who are not told learn of the pages from the images, later.
    if (announce) this.#announce(processes).catch(() => undefined);
    return this.report();
  }

  /** The frozen processes are gone: whoever asks for their pages is told so. */
  async loseMemory(why: string): Promise<void> {
    await this.#deps.pageThreads.lose(this.request.migrationId, why);
  }

  /** Closes everything. */
  end(): void {
    const reason = new DmigrateError("cancelled", "the transfer was ended");
    this.#ended.abort(reason);
    this.#jobs.close(reason);
    this.#links.close(reason);
    this.#remember(undefined);
    this.#forgetShared();
    void this.#logPass.then(() => this.#log.close());
    this.#deps.pageThreads.end(this.request.migrationId);
  }

  #announce(processes: readonly FrozenProcess[]): Promise<number> {
    const { migrationId } = this.request;
    return announceMemory(processes, this.#ended.signal, (frames) => this.#deps.pageThreads.tell(migrationId, frames));
  }

  async #pass(signal: AbortSignal, work: (jobs: FileJobs, signal: AbortSignal) => Promise<Pass>): Promise<Shipped> {
    if (this.#passUnderWay) throw new DmigrateError("conflict", "a pass over the files is under way already");
    this.#passUnderWay = true;
    try {
      return await this.#job(signal, async (jobs, bounded) => {
        const { files, sent } = await work(jobs, bounded);
        this.#remember(sent);
        return files;
      });
    } finally {
      this.#passUnderWay = false;
    }
  }

  #remember(sent: SentTrees | undefined): void {
    this.#sent?.watched?.watch.close();
    this.#sent = sent;
    if (this.#ended.signal.aborted) sent?.watched?.watch.close();
  }

  async #job(signal: AbortSignal, work: (jobs: FileJobs, signal: AbortSignal) => Promise<number>): Promise<Shipped> {
    const bounded = this.#bounded(signal);
    const started = performance.now();
    const jobs = await this.#whenConnected(bounded);
    const bytesBefore = this.report().bytesSent;
    const files = await work(jobs, bounded);
    this.#filesSent += files;
    return { files, bytes: this.report().bytesSent - bytesBefore, ms: performance.now() - started };
  }

  async #whenConnected(signal: AbortSignal): Promise<FileJobs> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(connectWaitMs)]);
    while (!this.#jobs.open) {
      await new Promise<void>((resolve, reject) => {
        const give = (): void =>
          reject(
            new DmigrateError("transfer-failed", "the destination's shipper is not connected to this node's data port"),
          );
        if (deadline.aborted) give();
        deadline.addEventListener("abort", give, { once: true });
        this.#connected.addEventListener("connected", () => resolve(), { once: true });
      });
    }
    return this.#jobs;
  }
}
