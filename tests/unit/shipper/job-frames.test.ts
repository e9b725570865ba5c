import { expect, test } from "vitest";
import { frameTypes, type Frame } from "../../../services/shared/core/frames/frame.ts";
import { jobHeaderBytes, readJobPayload } from "../../../services/shared/core/frames/job-message.ts";
import { FrameCompressor } from "../../../services/shipper/adapters/frame-compressor.ts";
import { FramePool } from "../../../services/shipper/core/frame-pool.ts";
import { JobFrames } from "../../../services/shipper/job-frames.ts";
import { StreamScheduler } from "../../../services/shipper/stream-scheduler.ts";
import { linkPair } from "../../helpers/link-pair.ts";

test("a frame that waits to be sent again when it proves to have arrived does not leave with another frame's content", async () => {
  const pool = new FramePool();
  const scheduler = new StreamScheduler();
  const [first, second] = [1, 2].map(
    (channel) => new JobFrames({ scheduler, compressor: new FrameCompressor(false), pool, channel, priority: 4 }),
  );
  const lost = linkPair(
    () => undefined,
    () => undefined,
  );
  scheduler.add(lost.links[0]);
  const frame = pool.take();
  frame.fill(1, jobHeaderBytes);
  await first?.send(frameTypes.jobData, frame);
  lost.links[0].close(new Error("cut"));
  await lost.links[0].closed;
  first?.sendLostAgain(0, new Set());
  first?.acknowledge(1);

  // The same memory, for a frame of another job with the number that the first job's next frame will have.
  const came: Frame[] = [];
  const next = pool.take();
  expect(next.buffer).toBe(frame.buffer);
  next.fill(2, jobHeaderBytes);
  await second?.send(frameTypes.jobData, Buffer.from("another".padEnd(jobHeaderBytes + 1)));
  await second?.send(frameTypes.jobData, next);
  const { links } = linkPair(
    () => undefined,
    (arrived) => void came.push({ ...arrived, payload: Buffer.from(arrived.payload) }),
  );
  scheduler.add(links[0]);
  await expect.poll(() => scheduler.waiting).toBe(0);
  await expect.poll(() => came.length).toBeGreaterThanOrEqual(2);
  expect(came.map(({ channel, payload }) => [channel, readJobPayload(payload).number])).toEqual([
    [2, 0],
    [2, 1],
  ]);
  links[0].close();
});
