/**
 * The destination's side of one migration: keeps the file connections to the source, and knows where each tree goes.
 * A connection that breaks is made again, and the jobs go on where they were.
 */
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { timingSafeEqual } from "node:crypto";
import type Docker from "dockerode";
import { readNotedLog } from "../shared/adapters/container-log.ts";
import { dockerInfo } from "../shared/adapters/docker.ts";
import { readNotedLayer } from "../shared/adapters/overlay-layer.ts";
import { containerIdSchema } from "../shared/contracts/common.ts";
import type { CreateReceive, Receive as ReceiveReport, ReceiveTarget } from "../shared/contracts/shipper.ts";
import type { JobSpec, TreeName } from "../shared/core/frames/job-message.ts";
import { reach, untilReached } from "../shared/adapters/milestone.ts";
import { DmigrateError, messageOf, type ErrorCode } from "../shared/errors.ts";
import type { FramedLink, FrameHandler } from "../shared/link/framed.ts";
import { openLink, type DialOptions } from "../shared/link/dial.ts";
import type { Log } from "../shared/log.ts";
import { migrationPaths, parentImagesName } from "../shared/node-paths.ts";
import { volumePath } from "./adapters/container-trees.ts";
import { ImageLoad } from "./adapters/image.ts";
import { Spool } from "./adapters/spool.ts";
import { TargetLog } from "./adapters/target-log.ts";
import { TreesJob, type TreePlace } from "./adapters/trees-job.ts";
import { HeldJob } from "./held-job.ts";
import { probeSink } from "./probe-link.ts";
import { ReceiveJobs, type JobSink } from "./receive-jobs.ts";

export interface ReceiveDeps {
  docker: Docker;
  stateDir: string;
  log: Log;
}

/** How long the first connection is tried for, and a lost one. */
const firstConnectMs = 5_000;
const reconnectMs = 60_000;
const firstPauseMs = 100;
const maxPauseMs = 2_000;

export class Receive {
  readonly request: CreateReceive;
  readonly #deps: ReceiveDeps;
  readonly #log: Log;
  readonly #ended = new AbortController();
  /** Resolve once a connection is given up for good. */
  #keeping: Promise<void>[] = [];
  readonly #links = new Set<FramedLink>();
  readonly #jobs: ReceiveJobs;
  /** Where the container's trees go, once Docker has its files mounted. */
  #places: Promise<Map<string, TreePlace>> | undefined;
  /** Of files that come before, what may still be put on disk to wait. */
  readonly #ahead = { bytes: 0 };
  /** Settled once no target is being looked for. */
  #setting: Promise<unknown> = Promise.resolve();
  /** Absent while the container is not known, and for one whose log does not come. */
  #containerLog: TargetLog | undefined;
  #bytesOfClosedLinks = 0;
  #filesReceived = 0;
  /** What jobs of any connection hold open. */
  readonly #sinks = new Set<JobSink>();

  constructor(request: CreateReceive, deps: ReceiveDeps) {
    this.request = request;
    this.#deps = deps;
    this.#log = deps.log.child({ migrationId: request.migrationId });
    this.#jobs = new ReceiveJobs({
      log: this.#log,
      open: (spec) => this.#track(this.#sinkOf(spec)),
      onDone: (files) => (this.#filesReceived += files),
    });
  }

  isSame({ secret, source, streams, security }: CreateReceive): boolean {
    const mine = this.request;
    const sameSecret = timingSafeEqual(Buffer.from(mine.secret), Buffer.from(secret));
    const sameSource = mine.source.host === source.host && mine.source.port === source.port;
    return sameSecret && sameSource && mine.streams === streams && mine.security === security;
  }

  /** Connects to the source. Throws `unavailable`, `unauthorized`, or `cancelled`. */
  async connect(): Promise<void> {
    const links: FramedLink[] = [];
    try {
      for (let stream = 0; stream < this.request.streams; stream++)
        links.push(await this.#dial(firstConnectMs, ["unavailable"]));
    } catch (error) {
      for (const link of links) link.close(new Error("the others could not be made"));
      throw error;
    }
    this.#keeping = links.map((link) => this.#keep(link));
    // Without any connection nothing will come any more.
    void Promise.all(this.#keeping).then(() => this.#jobs.abortAll());
  }

  report(): ReceiveReport {
    return {
      migrationId: this.request.migrationId,
      connected: [...this.#links].some(({ open }) => open),
      bytesReceived: [...this.#links].reduce((sum, { bytesReceived }) => sum + bytesReceived, this.#bytesOfClosedLinks),
      filesReceived: this.#filesReceived,
    };
  }

  /**
   * From now on files may come: they wait until Docker has the container's files mounted, and it is known where the layer,
   * the volumes and the log are written to. Resolves then, or at once where some may come ahead; why that can't be found out is
   * thrown, and told to whoever sends files. `signal` ends the waiting, unless it is for such files.
   */
  async setTarget(target: ReceiveTarget, signal: AbortSignal): Promise<void> {
    const { signal: ended } = this.#ended;
    const isAhead = target.aheadBytes > 0;
    ended.throwIfAborted();
    const places = this.#findPlaces(target, isAhead ? ended : AbortSignal.any([signal, ended]));
    this.#places = places;
    this.#ahead.bytes = target.aheadBytes;
    this.#setting = Promise.allSettled([this.#setting, places]);
    if (!isAhead) await places;
  }

  async #findPlaces({ volumes, binds }: ReceiveTarget, signal: AbortSignal): Promise<Map<string, TreePlace>> {
    const { docker, stateDir } = this.#deps;
    const { dir, mountedMark } = migrationPaths(stateDir, this.request.migrationId);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await untilReached(mountedMark, signal);
    const containerId = containerIdSchema.parse(await readFile(mountedMark, "utf8"));
    const { upper, merged, lowers } = await readNotedLayer(stateDir, containerId);
    const places = new Map<string, TreePlace>();
    const label = "the writable layer";
    places.set(keyOf({ kind: "layer" }), { path: merged, layer: { upper, lowers }, keepAttributes: true, label });
    for (const name of volumes) {
      const path = await volumePath(docker, name);
      const tree = { path, layer: undefined, keepAttributes: true, label: `volume ${name}` };
      places.set(keyOf({ kind: "volume", name }), tree);
    }
    for (const path of binds) {
      const tree = { path, layer: undefined, keepAttributes: true, label: `bind mount ${path}` };
      places.set(keyOf({ kind: "bind", path }), tree);
    }
    const log = await readNotedLog(stateDir, containerId);
    await this.#containerLog?.close();
    this.#containerLog = log && (await TargetLog.open(log, stateDir, this.request.migrationId));
    return places;
  }

  /** Closes the connection, waits until nothing is written any more, and removes what was received under the state directory. */
  async end(): Promise<void> {
    await this.stop();
    await removeReceived(this.#deps.stateDir, this.request.migrationId);
  }

  /** The same, but what was received stays. */
  async stop(): Promise<void> {
    this.#ended.abort(new DmigrateError("cancelled", "the receive was ended"));
    await Promise.all([...this.#keeping, this.#setting]);
    await this.#jobs.abortAll();
    await Promise.all([...this.#sinks].map((sink) => sink.abort()));
    await this.#containerLog?.close();
    this.#containerLog = undefined;
  }

  async #keep(first: FramedLink): Promise<void> {
    for (let link = first; ;) {
      const opened = performance.now();
      const reason = await link.closed;
      if (this.#isEnded()) return;
      this.#log.warn(
        { reason: reason && messageOf(reason) },
        "the connection to the source was lost; connecting again",
      );
      try {
        // One that the source closes again and again is not made again without end in no time.
        if (performance.now() - opened < firstPauseMs)
          await sleep(firstPauseMs, undefined, { signal: this.#ended.signal });
        // An agent that was started anew there does not know the migration as soon as its port is open.
        link = await this.#dial(reconnectMs, ["unavailable", "unauthorized"]);
      } catch (error) {
        if (!this.#isEnded()) this.#log.error({ err: error }, "the source stays out of reach");
        return;
      }
    }
  }

  #isEnded(): boolean {
    return this.#ended.signal.aborted;
  }

  /** Tries again for `forMs` where it fails by one of these. */
  async #dial(forMs: number, passing: readonly ErrorCode[]): Promise<FramedLink> {
    const { migrationId, secret, source, security } = this.request;
    const deadline = performance.now() + forMs;
    const { signal } = this.#ended;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, maxPauseMs)) {
      try {
        return await this.#open({ migrationId, secret, source, security, role: "files", signal });
      } catch (error) {
        const again = error instanceof DmigrateError && passing.includes(error.code);
        if (!again || performance.now() + pauseMs > deadline) throw error;
      }
      await sleep(pauseMs, undefined, { signal });
    }
  }

  async #open(options: DialOptions): Promise<FramedLink> {
    // The source may send at once: the frame waits for the handler.
    const { promise: attached, resolve } = Promise.withResolvers<FrameHandler>();
    const state: { handler?: FrameHandler } = {};
    const link = await openLink(options, {
      allocate: this.#jobs.allocate,
      onFrame: (frame) =>
        state.handler === undefined ? attached.then((handle) => handle(frame)) : state.handler(frame),
    });
    this.#links.add(link);
    void link.closed.then(() => {
      this.#links.delete(link);
      this.#bytesOfClosedLinks += link.bytesReceived;
    });
    state.handler = this.#jobs.attach(link);
    resolve(state.handler);
    return link;
  }

  #track(sink: JobSink): JobSink {
    this.#sinks.add(sink);
    const forget = async (): Promise<void> => {
      await sink.abort();
      this.#sinks.delete(sink);
    };
    return {
      write: (bytes, release) => sink.write(bytes, release),
      finish: async () => {
        const done = await sink.finish();
        this.#sinks.delete(sink);
        return done;
      },
      abort: forget,
    };
  }

  #sinkOf(spec: JobSpec): JobSink {
    if (spec.kind === "trees") {
      const job = new TreesJob(spec.trees, (tree) => this.#placeOf(tree), this.#ended.signal);
      if (spec.trees.some(({ kind }) => kind === "images")) return this.#marking(job);
      return spec.trees.some(({ kind }) => kind !== "shared") ? this.#held(job) : job;
    }
    if (spec.kind === "log" || spec.kind === "logRenames") return this.#logJob(spec);
    if (spec.kind === "probe") return probeSink();
    const load = new ImageLoad(this.#deps.docker, spec);
    return {
      write: (payload) => load.write(payload),
      finish: async () => {
        await load.finish();
        return { files: 1 };
      },
      abort: () => {
        load.abort();
        return Promise.resolve();
      },
    };
  }

  /** Of the container's own files, which may come before they are mounted here. */
  #held(job: JobSink): JobSink {
    const { docker } = this.#deps;
    return new HeldJob({
      // Without a target the job says so.
      ready: this.#places ?? Promise.resolve(),
      openSpool: async () => Spool.open((await dockerInfo(docker, Infinity)).DockerRootDir, this.#ahead),
      job,
    });
  }

  #logJob(spec: Extract<JobSpec, { kind: "log" | "logRenames" }>): JobSink {
    const opening = Promise.resolve(this.#places).then(() => {
      if (this.#containerLog === undefined)
        throw new DmigrateError("conflict", "no room was made here for the container's log");
      return this.#containerLog.sink(spec);
    });
    // Told to whoever writes.
    opening.catch(() => undefined);
    return {
      write: async (bytes, release) => (await opening).write(bytes, release),
      finish: async () => (await opening).finish(),
      abort: async () => (await opening.catch(() => undefined))?.abort(),
    };
  }

  /** The pager may be waiting for the images. */
  #marking(job: JobSink): JobSink {
    return {
      write: (bytes, release) => job.write(bytes, release),
      finish: async () => {
        const done = await job.finish();
        reach(migrationPaths(this.#deps.stateDir, this.request.migrationId).receivedMark);
        return done;
      },
      abort: () => job.abort(),
    };
  }

  async #placeOf(tree: TreeName): Promise<TreePlace> {
    if (tree.kind === "images") {
      const { imagesDir, receivedMark } = migrationPaths(this.#deps.stateDir, this.request.migrationId);
      await rm(receivedMark, { force: true });
      await this.#makeDirectory(imagesDir);
      return { path: imagesDir, layer: undefined, keepAttributes: false, label: "the CRIU images" };
    }
    if (tree.kind === "shared") {
      const path = join(migrationPaths(this.#deps.stateDir, this.request.migrationId).imagesDir, parentImagesName);
      await this.#makeDirectory(path);
      return { path, layer: undefined, keepAttributes: false, label: "the shared memory" };
    }
    if (this.#places === undefined)
      throw new DmigrateError("conflict", "the container to write to is not known yet; PUT …/target comes first");
    const place = (await this.#places).get(keyOf(tree));
    if (place === undefined)
      throw new DmigrateError("transfer-failed", "the source sent a tree that is not one of the container's here");
    return place;
  }

  /** Of the migration's own. Its end waits for it, and none is made after that: it would come back. */
  async #makeDirectory(path: string): Promise<void> {
    this.#ended.signal.throwIfAborted();
    const making = mkdir(path, { recursive: true, mode: 0o700 });
    this.#setting = Promise.allSettled([this.#setting, making]);
    await making;
  }
}

/** Removes a migration's directory on the destination. */
export const removeReceived = (stateDir: string, migrationId: string): Promise<void> =>
  rm(migrationPaths(stateDir, migrationId).dir, { recursive: true, force: true });

function keyOf(tree: TreeName): string {
  if (tree.kind === "volume") return `volume ${tree.name}`;
  return tree.kind === "bind" ? `bind ${tree.path}` : tree.kind;
}
