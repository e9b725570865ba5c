/** The destination's side of the file connection: takes jobs, answers each with done or failed. */
import { FrameError, frameTypes, type Frame, type FrameType } from "../shared/core/frames/frame.ts";
import { decodeJob, encodeDone, encodeFailed, type JobSpec } from "../shared/core/frames/job-message.ts";
import { messageOf } from "../shared/errors.ts";
import type { FramedLink } from "../shared/link/framed.ts";
import type { Log } from "../shared/log.ts";

/** What takes a job's bytes. */
export interface JobSink {
  write: (payload: Buffer) => Promise<void>;
  finish: () => Promise<{ files: number }>;
  /** Ends it early; safe after `finish` too. */
  abort: () => Promise<void>;
}

export interface ReceiveJobsOptions {
  link: FramedLink;
  open: (spec: JobSpec) => JobSink;
  onDone: (files: number) => void;
  log: Log;
}

const maxJobs = 8;

/** Handles the frames of one connection. When it is gone, its jobs are aborted. */
export class ReceiveJobs {
  readonly #options: ReceiveJobsOptions;
  readonly #running = new Map<number, JobSink>();
  #lastJob = 0;

  constructor(options: ReceiveJobsOptions) {
    this.#options = options;
    void options.link.closed.then(() => this.#abortAll());
  }

  handle({ type, channel, payload }: Frame): void | Promise<void> {
    if (type === frameTypes.jobBegin) {
      this.#begin(channel, payload);
      return;
    }
    const sink = this.#running.get(channel);
    if (sink === undefined) {
      // What was under way when this side said that the job had failed.
      if (channel >= 1 && channel <= this.#lastJob) return;
      throw new FrameError(`a frame of job ${channel}, which was not begun`);
    }
    switch (type) {
      case frameTypes.jobData:
        return sink.write(payload).catch((error: unknown) => this.#failed(channel, sink, error));
      case frameTypes.jobEnd:
        // Not waited for: what follows belongs to other jobs.
        void this.#finish(channel, sink);
        return;
      case frameTypes.jobCancel:
        this.#running.delete(channel);
        return this.#abort(sink);
      default:
        throw new FrameError(`a frame of type ${type} on the file connection`);
    }
  }

  #begin(channel: number, payload: Buffer): void {
    if (channel !== this.#lastJob + 1) throw new FrameError(`job ${channel} where job ${this.#lastJob + 1} was due`);
    this.#lastJob = channel;
    if (this.#running.size >= maxJobs) throw new FrameError(`more than ${maxJobs} jobs at once`);
    this.#running.set(channel, this.#options.open(decodeJob(payload)));
  }

  async #finish(channel: number, sink: JobSink): Promise<void> {
    try {
      const { files } = await sink.finish();
      this.#running.delete(channel);
      this.#options.onDone(files);
      this.#answer(frameTypes.jobDone, channel, encodeDone({ files }));
    } catch (error) {
      await this.#failed(channel, sink, error);
    }
  }

  async #failed(channel: number, sink: JobSink, error: unknown): Promise<void> {
    // Cancelled, or the connection is gone: nobody waits for an answer.
    if (!this.#running.delete(channel)) return;
    this.#options.log.warn({ err: error }, "a file job failed");
    this.#answer(frameTypes.jobFailed, channel, encodeFailed(messageOf(error)));
    await this.#abort(sink);
  }

  #answer(type: FrameType, channel: number, frame: Buffer): void {
    this.#options.link.write(type, channel, frame);
  }

  async #abort(sink: JobSink): Promise<void> {
    await sink.abort().catch((error: unknown) => this.#options.log.warn({ err: error }, "ending a file job failed"));
  }

  async #abortAll(): Promise<void> {
    const sinks = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(sinks.map((sink) => this.#abort(sink)));
  }
}
