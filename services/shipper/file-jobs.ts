/**
 * File jobs of the source, over one connection: each is begun, fed with data, ended, and then done once the
 * destination says that everything is written.
 *
 *     begin ──> data … ──> end ──> done | failed (by the destination, at any time) | cancelled (by this side)
 */
import { FrameError, frameOf, frameTypes, type Frame } from "../shared/core/frames/frame.ts";
import { decodeDone, decodeFailed, encodeJob, type JobSpec } from "../shared/core/frames/job-message.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../shared/errors.ts";
import type { FramedLink } from "../shared/link/framed.ts";
import type { Priority } from "./core/priority-queue.ts";
import { Sender } from "./sender.ts";

interface Running {
  resolve: (files: number) => void;
  reject: (error: Error) => void;
}

export interface JobWork {
  /** Sends one frame of data; waits while the connection is busy. Rejects once the job has failed. */
  send: (frame: Buffer) => Promise<void>;
  /** Aborted when the job has failed or was cancelled. */
  signal: AbortSignal;
}

export class FileJobs {
  readonly #link: FramedLink;
  readonly #sender: Sender;
  readonly #running = new Map<number, Running>();
  #lastJob = 0;

  constructor(link: FramedLink) {
    this.#link = link;
    this.#sender = new Sender(link);
    void link.closed.then((reason) => {
      const error = new DmigrateError(
        "transfer-failed",
        `the connection to the destination was lost: ${reason === undefined ? "it was closed" : messageOf(reason)}`,
        { cause: reason },
      );
      for (const { reject } of this.#running.values()) reject(error);
      this.#running.clear();
    });
  }

  get open(): boolean {
    return this.#link.open;
  }

  close(reason: Error): void {
    this.#link.close(reason);
  }

  /** Handles a frame of the destination. */
  handle({ type, channel, payload }: Frame): void {
    const job = this.#running.get(channel);
    // The answer to a job that this side has given up in the meantime.
    if (job === undefined && channel >= 1 && channel <= this.#lastJob) return;
    if (job === undefined) throw new FrameError(`an answer to job ${channel}, which does not exist`);
    this.#running.delete(channel);
    if (type === frameTypes.jobDone) job.resolve(decodeDone(payload).files);
    else if (type === frameTypes.jobFailed)
      job.reject(new DmigrateError("transfer-failed", `the destination: ${decodeFailed(payload).message}`));
    else throw new FrameError(`a frame of type ${type} on the file connection`);
  }

  /**
   * Runs a job to its end. Answers how many files the destination has written. Throws `transfer-failed`, `cancelled`
   * when `signal` is aborted, or what `work` throws.
   */
  async run(
    spec: JobSpec,
    priority: Priority,
    signal: AbortSignal,
    work: (job: JobWork) => Promise<void>,
  ): Promise<number> {
    signal.throwIfAborted();
    this.#lastJob++;
    const channel = this.#lastJob;
    const stop = new AbortController();
    const { promise: done, resolve, reject } = Promise.withResolvers<number>();
    // What ended the job first is why it failed; what follows from it is not told.
    const failure: { first?: Error } = {};
    const fail = (error: Error): void => {
      failure.first ??= error;
      reject(error);
      stop.abort(error);
    };
    done.catch(() => undefined);
    this.#running.set(channel, { resolve, reject: fail });
    const cancel = (): void =>
      fail(new DmigrateError("cancelled", "the transfer was cancelled", { cause: signal.reason }));
    signal.addEventListener("abort", cancel, { once: true });
    if (!this.#link.open) fail(new DmigrateError("transfer-failed", "the connection to the destination was lost"));
    const send = async (frame: Buffer): Promise<void> => {
      stop.signal.throwIfAborted();
      await this.#sender.push(priority, { type: frameTypes.jobData, channel, frame });
    };
    try {
      await this.#sender.push(priority, { type: frameTypes.jobBegin, channel, frame: encodeJob(spec) });
      // A failure of the destination ends the job at once, whatever the work is waiting for.
      await Promise.race([work({ send, signal: stop.signal }), done]);
      await this.#sender.push(priority, { type: frameTypes.jobEnd, channel, frame: frameOf(Buffer.alloc(0)) });
      return await done;
    } catch (error) {
      stop.abort(error);
      if (this.#running.delete(channel) || signal.aborted) this.#sendCancel(channel, priority);
      throw failure.first ?? asDmigrateError(error, "transfer-failed", "sending files");
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  #sendCancel(channel: number, priority: Priority): void {
    const frame = frameOf(Buffer.alloc(0));
    this.#sender.enqueue(priority, frame.length, () => ({ type: frameTypes.jobCancel, channel, frame }));
  }
}
