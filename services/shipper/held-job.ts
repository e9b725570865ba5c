/**
 * A file job whose data may come before there is a place for it: files travel while Docker still gets the image, or makes
 * the container. Until then its frames wait on disk, as far as there is room, and after that the source waits.
 */
import type { JobDone } from "../shared/core/frames/job-message.ts";
import { DmigrateError } from "../shared/errors.ts";
import type { Spool } from "./adapters/spool.ts";
import type { JobSink } from "./receive-jobs.ts";

export interface HeldJobOptions {
  /** Settles once there is a place, or there will be none. */
  ready: Promise<unknown>;
  /** Undefined where nothing can wait on disk. */
  openSpool: () => Promise<Spool | undefined>;
  job: JobSink;
}

export class HeldJob implements JobSink {
  readonly #options: HeldJobOptions;
  readonly #over = Promise.withResolvers<never>();
  #isOver = false;
  #isReady = false;
  /** Nothing waits any more, nor will. */
  #isLive = false;
  #spool: Promise<Spool | undefined> | undefined;

  constructor(options: HeldJobOptions) {
    this.#options = options;
    const settled = (): void => {
      this.#isReady = true;
    };
    options.ready.then(settled, settled);
    this.#over.promise.catch(() => undefined);
  }

  /** Throws why there is no place, or what the job throws. */
  async write(bytes: Buffer, release: () => void): Promise<void> {
    if (!this.#isReady && (await this.#keep(bytes))) {
      release();
      return;
    }
    if (!this.#isLive) await this.#catchUp();
    await this.#options.job.write(bytes, release);
  }

  async finish(): Promise<JobDone> {
    await this.#catchUp();
    return this.#options.job.finish();
  }

  async abort(): Promise<void> {
    this.#isOver = true;
    this.#over.reject(new DmigrateError("cancelled", "the job was ended"));
    await this.#options.job.abort();
    await this.#closeSpool();
  }

  async #keep(bytes: Buffer): Promise<boolean> {
    this.#spool ??= this.#options.openSpool();
    const spool = await this.#spool;
    return spool !== undefined && !this.#isOver && (await spool.add(bytes));
  }

  /** Gives the job what waits for it, once there is a place. */
  async #catchUp(): Promise<void> {
    await Promise.race([this.#options.ready, this.#over.promise]);
    this.#isLive = true;
    const spool = await this.#spool;
    if (spool === undefined) return;
    for await (const frame of spool.takeAll()) {
      await this.#options.job.write(frame, () => undefined);
      if (this.#isOver) await this.#over.promise;
    }
    await this.#closeSpool();
  }

  async #closeSpool(): Promise<void> {
    const spool = this.#spool;
    this.#spool = undefined;
    await (await spool?.catch(() => undefined))?.close();
  }
}
