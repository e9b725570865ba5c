/** Cuts a stream of bytes into full frames of a job. */
import { jobHeaderBytes } from "../../shared/core/frames/job-message.ts";
import type { JobWork } from "../file-jobs.ts";

export class FrameFiller {
  readonly #job: Pick<JobWork, "send" | "takeFrame">;
  #frame: Buffer | undefined;
  #end = jobHeaderBytes;

  constructor(job: Pick<JobWork, "send" | "takeFrame">) {
    this.#job = job;
  }

  /** Takes bytes, which stay the caller's; waits while the connection is busy. */
  async add(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      this.#frame ??= this.#job.takeFrame();
      const taken = bytes.copy(this.#frame, this.#end, at);
      at += taken;
      this.#end += taken;
      if (this.#end === this.#frame.length) await this.flush();
    }
  }

  /** Sends what is there. */
  async flush(): Promise<void> {
    const frame = this.#frame;
    if (frame === undefined) return;
    const end = this.#end;
    this.#frame = undefined;
    this.#end = jobHeaderBytes;
    await this.#job.send(frame.subarray(0, end));
  }
}
