/**
 * The destination's side of the file jobs: takes their frames from any number of connections, applies them in each
 * job's order, answers each job with done or failed. Jobs outlive connections: on each new one it says which frames
 * have arrived, and repeats the answers that may have been lost.
 */
import { FrameError, frameTypes, type Frame, type FrameType } from "../shared/core/frames/frame.ts";
import {
  decodeJob,
  encodeAck,
  encodeDone,
  encodeFailed,
  encodeState,
  jobDataFlags,
  maxUnappliedBytes,
  readJobPayload,
  type JobDone,
  type JobSpec,
} from "../shared/core/frames/job-message.ts";
import { PayloadPool } from "../shared/core/frames/payload-pool.ts";
import { messageOf } from "../shared/errors.ts";
import type { FramedLink, FrameHandler } from "../shared/link/framed.ts";
import type { Log } from "../shared/log.ts";
import { unpack } from "./adapters/frame-compressor.ts";
import { Arrivals } from "./core/arrivals.ts";

/** What takes a job's bytes. */
export interface JobSink {
  /** `release` is called once the bytes are not looked at any more; never, if that can't be told. */
  write: (bytes: Buffer, release: () => void) => Promise<void>;
  finish: () => Promise<JobDone>;
  /** Ends it early; safe after `finish` too. */
  abort: () => Promise<void>;
}

export interface ReceiveJobsOptions {
  open: (spec: JobSpec) => JobSink;
  onDone: (files: number) => void;
  log: Log;
}

interface Arrived {
  payload: Buffer;
  type: FrameType;
  flags: number;
  body: Buffer;
}

interface Job {
  arrivals: Arrivals<Arrived>;
  /** Of frames that arrived and were not applied. */
  bytes: number;
  applying: boolean;
  sink: JobSink | undefined;
}

interface Answer {
  type: FrameType;
  frame: () => Buffer;
}

const maxJobs = 8;
/** Jobs of a migration; it has a few dozen, and one for each file of a log. */
const mostJobs = 16_384;
const leastPooledBytes = 64 * 1024;
/** How many ended jobs' answers are kept to be repeated. */
const keptAnswers = 16;
/** More than all that a source has under way is ever answered with. */
const mostUnreadBytes = 1 << 20;
/** A source that is told of each applied frame at the latest when so many were. */
const acknowledgeEvery = 8;

export class ReceiveJobs {
  readonly #options: ReceiveJobsOptions;
  readonly #links: FramedLink[] = [];
  readonly #pool = new PayloadPool();
  readonly #running = new Map<number, Job>();
  /** Of jobs that have ended, the newest last. */
  readonly #answers = new Map<number, Answer>();
  /** Jobs that have ended here. */
  readonly #over = new Set<number>();

  constructor(options: ReceiveJobsOptions) {
    this.#options = options;
  }

  /** Uses one more connection; the answer handles what comes by it. */
  attach(link: FramedLink): FrameHandler {
    this.#links.push(link);
    void link.closed.then(() => this.#links.splice(this.#links.indexOf(link), 1));
    for (const [channel, { type, frame }] of this.#answers) link.write(type, channel, frame());
    const jobs = [...this.#running].map(([job, { arrivals }]) => ({
      job,
      next: arrivals.next,
      early: arrivals.early,
    }));
    link.write(frameTypes.jobState, 0, encodeState({ jobs }));
    // What was said of applied frames may have been lost too; where some are being applied, it is said afterwards.
    for (const [channel, { arrivals, applying }] of this.#running)
      if (!applying) link.write(frameTypes.jobAck, channel, encodeAck(arrivals.next));
    return (frame) => this.#handle(frame);
  }

  /** Memory for payloads of the connections that are attached. */
  readonly allocate = (bytes: number): Buffer =>
    // A smaller one would keep far more memory than it is counted for.
    bytes < leastPooledBytes ? Buffer.allocUnsafeSlow(bytes) : this.#pool.take(bytes);

  /** Ends all jobs; the source is not told. */
  async abortAll(): Promise<void> {
    const jobs = [...this.#running];
    await Promise.all(jobs.map(([channel, job]) => this.#drop(channel, job)));
  }

  #handle({ type, flags, channel, payload }: Frame): void {
    const isOfJob =
      type === frameTypes.jobBegin ||
      type === frameTypes.jobData ||
      type === frameTypes.jobEnd ||
      type === frameTypes.jobCancel;
    if (!isOfJob) throw new FrameError(`a frame of type ${type} on the file connection`);
    // What was under way when this side said that the job had failed.
    if (this.#over.has(channel)) return;
    const { number, body } = readJobPayload(payload);
    const job = this.#running.get(channel) ?? this.#begin(channel);
    if (type === frameTypes.jobCancel) {
      void this.#drop(channel, job);
      return;
    }
    if (!job.arrivals.put(number, { type, flags, payload, body })) return;
    job.bytes += body.length;
    if (job.bytes > maxUnappliedBytes) throw new FrameError("the source sends more than this side has room for");
    if (!job.applying) void this.#apply(channel, job);
  }

  #begin(channel: number): Job {
    if (this.#over.size >= mostJobs) throw new FrameError(`more than ${mostJobs} jobs`);
    if (this.#running.size >= maxJobs) throw new FrameError(`more than ${maxJobs} jobs at once`);
    const job: Job = { arrivals: new Arrivals(), bytes: 0, applying: false, sink: undefined };
    this.#running.set(channel, job);
    return job;
  }

  /** Applies what has arrived, in order. */
  async #apply(channel: number, job: Job): Promise<void> {
    job.applying = true;
    try {
      let applied = 0;
      for (let frame = job.arrivals.take(); frame !== undefined; frame = job.arrivals.take()) {
        if (await this.#applyOne(channel, job, frame)) return;
        if (!this.#running.has(channel)) return;
        job.bytes -= frame.body.length;
        applied++;
        if (applied % acknowledgeEvery === 0) this.#write(frameTypes.jobAck, channel, encodeAck(job.arrivals.next));
      }
      this.#write(frameTypes.jobAck, channel, encodeAck(job.arrivals.next));
    } catch (error) {
      await this.#failed(channel, job, error);
    } finally {
      job.applying = false;
    }
  }

  /** True when the job is over. */
  async #applyOne(channel: number, job: Job, { type, flags, payload, body }: Arrived): Promise<boolean> {
    if (type === frameTypes.jobBegin) {
      if (job.sink !== undefined) throw new FrameError(`job ${channel} begins twice`);
      job.sink = this.#options.open(decodeJob(body));
      return false;
    }
    const { sink } = job;
    if (sink === undefined) throw new FrameError(`a frame of job ${channel}, which was not begun`);
    if (type === frameTypes.jobData) {
      const release = (): void => this.#pool.release(payload);
      if ((flags & jobDataFlags.zstd) === 0) await sink.write(body, release);
      else {
        const unpacked = await unpack(body);
        release();
        await sink.write(unpacked, () => undefined);
      }
      return false;
    }
    const done = await sink.finish();
    if (!this.#running.delete(channel)) return true;
    this.#options.onDone(done.files);
    this.#answer(channel, { type: frameTypes.jobDone, frame: () => encodeDone(done) });
    return true;
  }

  async #failed(channel: number, job: Job, error: unknown): Promise<void> {
    // Cancelled, or this side was ended: nobody waits for an answer.
    if (!this.#running.has(channel)) return;
    this.#options.log.warn({ err: error }, "a file job failed");
    await this.#drop(channel, job);
    const message = messageOf(error);
    this.#answer(channel, { type: frameTypes.jobFailed, frame: () => encodeFailed(message) });
  }

  #answer(channel: number, answer: Answer): void {
    this.#over.add(channel);
    this.#answers.set(channel, answer);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > keptAnswers && oldest !== undefined) this.#answers.delete(oldest);
    this.#write(answer.type, channel, answer.frame());
  }

  #write(type: FrameType, channel: number, frame: Buffer): void {
    const link = this.#links.find(({ open }) => open);
    if (link === undefined) return;
    if (link.pendingBytes > mostUnreadBytes) link.close(new FrameError("the source reads nothing of what it is told"));
    else link.write(type, channel, frame);
  }

  async #drop(channel: number, job: Job): Promise<void> {
    this.#running.delete(channel);
    this.#over.add(channel);
    await job.sink?.abort().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, "ending a file job failed");
    });
  }
}
