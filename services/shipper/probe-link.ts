/**
 * Measures what the file connections carry: for about 100 ms sends bytes that the destination throws away, as a file job,
 * and looks at what it acknowledges. What of it has not left by then is taken back, so that nothing waits for it.
 *
 *     a little in flight ──acknowledged: as much again, twice as much in flight──> … ──time or bytes are up──> cancelled
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { LinkProbe } from "../shared/contracts/shipper.ts";
import { maxDataBytes } from "../shared/core/frames/frame.ts";
import { jobHeaderBytes, maxProbeBytes, maxUnappliedBytes } from "../shared/core/frames/job-message.ts";
import { DmigrateError } from "../shared/errors.ts";
import { linkRate, type Acknowledged } from "./core/link-rate.ts";
import type { FileJobs, JobWork } from "./file-jobs.ts";
import type { JobSink } from "./receive-jobs.ts";

/** Counted from the first acknowledgement: before it lies the way there and back. */
const probeMs = 100;
/** A link over which nothing has come by then is no better known for waiting longer. */
const patienceMs = 1_000;
const leastFrameBytes = 16 * 1024;
/** In flight at the beginning: what the slowest links carry in the time of a probe. */
const firstInFlightBytes = 4 * leastFrameBytes;
/** In flight at most: what any job may have. */
const mostInFlightBytes = maxUnappliedBytes - 2 * maxDataBytes;
/** Frames that the bytes in flight are cut into, so that acknowledgements come often. */
const framesInFlight = 8;

/** Throws `transfer-failed` when the connection is lost or nothing comes through, `cancelled` when `signal` is aborted. */
export async function probeLink(jobs: FileJobs, signal: AbortSignal): Promise<LinkProbe> {
  const over = new AbortController();
  const samples: Acknowledged[] = [];
  const started = performance.now();
  try {
    await jobs.run({ kind: "probe" }, 4, AbortSignal.any([signal, over.signal]), async (job) => {
      await sendFor(job, samples);
      // What is under way still tells nothing more.
      over.abort();
    });
  } catch (error) {
    if (!over.signal.aborted || signal.aborted) throw error;
  }
  const bytesPerSecond = linkRate(samples);
  const bytes = samples.at(-1)?.bytes ?? 0;
  if (bytesPerSecond === undefined)
    throw new DmigrateError(
      "transfer-failed",
      `the link was not measured: the destination acknowledged ${bytes} bytes within ${patienceMs} ms`,
    );
  return { bytesPerSecond, bytes, ms: performance.now() - started };
}

/** Sends, and notes what was acknowledged when, until time or bytes are up. */
async function sendFor(job: JobWork, samples: Acknowledged[]): Promise<void> {
  // Nothing on the way makes it smaller; and what stood in a used frame before is nobody's business.
  const noise = randomBytes(maxDataBytes);
  const started = performance.now();
  let inFlightBytes = firstInFlightBytes;
  let [sent, acknowledged] = [0, 0];
  const time = { isOver: false };
  const end = async (ms: number): Promise<void> => {
    await sleep(ms, undefined, { ref: false });
    time.isOver = true;
  };
  let ended = end(patienceMs);
  while (!time.isOver) {
    while (sent < maxProbeBytes && job.unappliedBytes() < inFlightBytes) {
      const whole = Math.max(leastFrameBytes, Math.min(maxDataBytes, Math.floor(inFlightBytes / framesInFlight)));
      const bytes = Math.min(whole, maxProbeBytes - sent);
      const frame = job.takeFrame().subarray(0, jobHeaderBytes + bytes);
      noise.copy(frame, jobHeaderBytes, 0, bytes);
      await job.sendPlain(frame);
      sent += frame.length;
    }
    await Promise.race([job.applied(), ended]);
    const applied = sent - job.unappliedBytes();
    if (applied <= acknowledged) continue;
    if (samples.length === 0) ended = end(probeMs);
    samples.push({ ms: performance.now() - started, bytes: applied });
    inFlightBytes = Math.min(inFlightBytes + applied - acknowledged, mostInFlightBytes);
    acknowledged = applied;
    if (acknowledged === sent && sent >= maxProbeBytes) return;
  }
}

/** The destination's end: throws the bytes away. Throws when there are more than a probe has. */
export function probeSink(): JobSink {
  let bytes = 0;
  return {
    write: (part, release) => {
      bytes += part.length;
      release();
      if (bytes > maxProbeBytes) throw new DmigrateError("transfer-failed", "a probe that is larger than it may be");
      return Promise.resolve();
    },
    finish: () => Promise.resolve({ files: 0 }),
    abort: () => Promise.resolve(),
  };
}
