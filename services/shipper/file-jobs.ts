/**
 * File jobs of the source, over any number of connections: each is begun, fed with data, ended, and then done once the
 * destination says that everything is written.
 *
 *     begin ──> data … ──> end ──> done | failed (by the destination, at any time) | cancelled (by this side)
 *
 * A frame is kept until the destination has applied it. When a connection is lost, the destination says which frames
 * have arrived as soon as it has connected again, and the others are sent again; nothing is sent twice.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { FrameError, frameTypes, type Frame, type FrameType } from "../shared/core/frames/frame.ts";
import {
  allocateJobFrame,
  decodeAck,
  decodeDone,
  decodeFailed,
  decodeState,
  encodeJob,
  numberJobFrame,
  type JobDone,
  type JobSpec,
} from "../shared/core/frames/job-message.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../shared/errors.ts";
import type { FramedLink, FrameHandler } from "../shared/link/framed.ts";
import { FrameCompressor } from "./adapters/frame-compressor.ts";
import { JobFrames } from "./job-frames.ts";
import { FramePool } from "./core/frame-pool.ts";
import type { Priority } from "./core/priority-queue.ts";
import { StreamScheduler } from "./stream-scheduler.ts";

interface Running {
  frames: JobFrames;
  resolve: (done: JobDone) => void;
  reject: (error: Error) => void;
}

export interface JobWork {
  /** A frame to fill from `jobHeaderBytes` on. */
  takeFrame: () => Buffer;
  /**
   * Sends one frame of data, or the beginning of one; it is the job's from now on. Waits while the destination is busy.
   * Rejects once the job has failed.
   */
  send: (frame: Buffer) => Promise<void>;
  /** The same, never compressed. */
  sendPlain: (frame: Buffer) => Promise<void>;
  /** Bytes of the job that the destination has not applied yet. */
  unappliedBytes: () => number;
  /** Resolves as soon as it has applied more. Rejects once the job has ended. */
  applied: () => Promise<void>;
  /** Aborted when the job has failed or was cancelled. */
  signal: AbortSignal;
}

/** How long jobs wait for the destination to connect again. */
const reconnectMs = 20_000;
/** How long the destination has, once a connection is lost, to make another one and say what has come by the lost one. */
const stateWaitMs = 1_000;

export class FileJobs {
  readonly #scheduler: StreamScheduler;
  readonly #compressor: FrameCompressor;
  readonly #pool = new FramePool();
  readonly #running = new Map<number, Running>();
  #lastJob = 0;
  /** How often the destination has said what has arrived. */
  #statesHeard = 0;

  /**
   * `compress`: what the plan assumes; measurements while running decide. `onUrgent` is told when frames that the resume
   * waits for begin to wait for the link, and when none does any more.
   */
  constructor(compress = false, onUrgent?: (isWaiting: boolean) => void) {
    this.#scheduler = new StreamScheduler(onUrgent);
    this.#compressor = new FrameCompressor(compress);
  }

  get open(): boolean {
    return this.#scheduler.open;
  }

  /** Uses one more connection; the answer handles what comes by it. */
  attach(link: FramedLink): FrameHandler {
    this.#scheduler.add(link);
    void link.closed.then((reason) => this.#lost(reason));
    let saidState = false;
    return (frame) => {
      if (frame.type !== frameTypes.jobState) {
        this.#handle(frame);
        return;
      }
      // Each may be answered with frames of ours, whether he reads them or not.
      if (saidState) throw new FrameError("the destination said twice what has arrived, on one connection");
      saidState = true;
      this.#resume(frame.payload);
    };
  }

  /** The link carries so much, as far as is known by other means than the jobs themselves. */
  noteLink(bytesPerSecond: number): void {
    this.#compressor.noteLink(bytesPerSecond);
  }

  /** Whether small files of so many bytes wait for the link rather than for processors, as far as is known by now. */
  linkHoldsUp(bytes: number): boolean {
    return this.#compressor.linkHoldsUp(bytes);
  }

  /** Frames wait for the link just now. */
  get linkIsBusy(): boolean {
    return this.#scheduler.waiting > 0;
  }

  close(reason: Error): void {
    for (const link of [...this.#scheduler.links]) link.close(reason);
    this.#failAll(reason);
  }

  /**
   * Runs a job to its end. Answers how many files the destination has written; `onDone` is told all that it says of them.
   * Throws `transfer-failed`, `cancelled` when `signal` is aborted, or what `work` or `onDone` throws.
   */
  async run(
    spec: JobSpec,
    priority: Priority,
    signal: AbortSignal,
    work: (job: JobWork) => Promise<void>,
    onDone?: (done: JobDone) => void,
  ): Promise<number> {
    signal.throwIfAborted();
    this.#lastJob++;
    const channel = this.#lastJob;
    const frames = new JobFrames({
      scheduler: this.#scheduler,
      compressor: this.#compressor,
      pool: this.#pool,
      channel,
      priority,
    });
    const stop = new AbortController();
    const { promise: done, resolve, reject } = Promise.withResolvers<JobDone>();
    // What ended the job first is why it failed; what follows from it is not told.
    const failure: { first?: Error } = {};
    const fail = (error: Error): void => {
      failure.first ??= error;
      reject(error);
      stop.abort(error);
      frames.end(error);
    };
    done.catch(() => undefined);
    this.#running.set(channel, { frames, resolve, reject: fail });
    const cancel = (): void =>
      fail(new DmigrateError("cancelled", "the transfer was cancelled", { cause: signal.reason }));
    signal.addEventListener("abort", cancel, { once: true });
    if (!this.open) fail(new DmigrateError("transfer-failed", "the connection to the destination was lost"));
    const job: JobWork = {
      takeFrame: () => this.#pool.take(),
      send: async (frame) => {
        stop.signal.throwIfAborted();
        await frames.sendData(frame);
      },
      sendPlain: async (frame) => {
        stop.signal.throwIfAborted();
        await frames.send(frameTypes.jobData, frame);
      },
      unappliedBytes: () => frames.unappliedBytes,
      applied: () => frames.applied(),
      signal: stop.signal,
    };
    try {
      await frames.send(frameTypes.jobBegin, encodeJob(spec));
      // A failure of the destination ends the job at once, whatever the work is waiting for.
      await Promise.race([work(job), done]);
      await frames.send(frameTypes.jobEnd, allocateJobFrame(0));
      const ended = await done;
      onDone?.(ended);
      return ended.files;
    } catch (error) {
      fail(asDmigrateError(error, "transfer-failed", "sending files"));
      if (this.#running.delete(channel) || signal.aborted) this.#cancelThere(channel, priority);
      throw failure.first ?? error;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Handles a frame of the destination. */
  #handle({ type, channel, payload }: Frame): void {
    const job = this.#running.get(channel);
    // About a job that has ended here in the meantime.
    if (job === undefined && channel >= 1 && channel <= this.#lastJob) return;
    if (job === undefined) throw new FrameError(`an answer to job ${channel}, which does not exist`);
    if (type === frameTypes.jobAck) {
      job.frames.acknowledge(decodeAck(payload));
      return;
    }
    this.#finish(job, channel, type, payload);
  }

  #finish({ frames, resolve, reject }: Running, channel: number, type: FrameType, payload: Buffer): void {
    if (type === frameTypes.jobDone) resolve(decodeDone(payload));
    else if (type === frameTypes.jobFailed)
      reject(new DmigrateError("transfer-failed", `the destination: ${decodeFailed(payload).message}`));
    else throw new FrameError(`a frame of type ${type} on the file connection`);
    frames.end(new Error("the job is over"));
    this.#running.delete(channel);
  }

  /** The destination has connected (again), and says what it has of the jobs. */
  #resume(payload: Buffer): void {
    const { jobs } = decodeState(payload);
    this.#statesHeard++;
    const states = new Map(jobs.map((state) => [state.job, state]));
    for (const [channel, { frames }] of this.#running) {
      const { next = 0, early = [] } = states.get(channel) ?? {};
      frames.sendLostAgain(next, new Set(early));
    }
    for (const { job } of jobs) if (!this.#running.has(job) && job <= this.#lastJob) this.#cancelThere(job, 4);
  }

  #lost(reason: Error | undefined): void {
    if (this.#running.size === 0) return;
    if (this.open) {
      void this.#sendLostAgain();
      return;
    }
    const error = new DmigrateError(
      "transfer-failed",
      `the connection to the destination was lost: ${reason === undefined ? "it was closed" : messageOf(reason)}`,
      { cause: reason },
    );
    void this.#waitForReturn(error);
  }

  /**
   * The destination may have noticed the loss first, and have said what has arrived while the connection was open here still:
   * it will not say so again. What comes twice does no harm there.
   */
  async #sendLostAgain(): Promise<void> {
    const heard = this.#statesHeard;
    await sleep(stateWaitMs, undefined, { ref: false });
    if (heard !== this.#statesHeard) return;
    for (const { frames } of this.#running.values()) frames.sendLostAgain(0, new Set());
  }

  async #waitForReturn(error: Error): Promise<void> {
    const last = this.#lastJob;
    await sleep(reconnectMs, undefined, { ref: false });
    if (this.open) return;
    for (const [channel, { reject }] of this.#running) if (channel <= last) reject(error);
  }

  #failAll(error: Error): void {
    for (const { reject } of this.#running.values()) reject(error);
    this.#running.clear();
  }

  #cancelThere(channel: number, priority: Priority): void {
    const frame = allocateJobFrame(0);
    numberJobFrame(frame, 0);
    if (this.open)
      this.#scheduler.push({ type: frameTypes.jobCancel, channel, flags: 0, frame, link: undefined }, priority);
  }
}
