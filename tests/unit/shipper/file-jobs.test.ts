/** File jobs over several connections in memory, which are cut while data flows. */
import { createHash, randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { linkPair } from "../../helpers/link-pair.ts";
import { frameTypes } from "../../../services/shared/core/frames/frame.ts";
import {
  allocateJobFrame,
  encodeJob,
  encodeState,
  jobHeaderBytes,
  numberJobFrame,
  type JobSpec,
} from "../../../services/shared/core/frames/job-message.ts";
import type { FramedLink, FrameHandler } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import { FileJobs, type JobWork } from "../../../services/shipper/file-jobs.ts";
import { ReceiveJobs, type JobSink } from "../../../services/shipper/receive-jobs.ts";

const { signal } = new AbortController();
const spec: JobSpec = { kind: "trees", trees: [{ kind: "images" }] };

interface Ends {
  jobs: FileJobs;
  receive: ReceiveJobs;
  /** One more connection; answers the source's end of it. */
  connect: () => FramedLink;
}

const opened: FileJobs[] = [];
afterEach(() => {
  for (const jobs of opened.splice(0)) jobs.close(new Error("the test is over"));
});

function ends(sink: () => JobSink, compress = false): Ends {
  const jobs = new FileJobs(compress);
  opened.push(jobs);
  const receive = new ReceiveJobs({ log: createLog("test", "silent"), onDone: () => undefined, open: sink });
  const connect = (): FramedLink => {
    const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
    const { links } = linkPair(
      (frame) => handlers.source?.(frame),
      (frame) => handlers.target?.(frame),
    );
    handlers.source = jobs.attach(links[0]);
    handlers.target = receive.attach(links[1]);
    return links[0];
  };
  return { jobs, receive, connect };
}

/** Takes bytes, slowly, and remembers them by their hash. */
function hashing(): { sink: () => JobSink; digest: () => string; bytes: () => number } {
  const hash = createHash("sha256");
  let bytes = 0;
  const sink = (): JobSink => ({
    write: async (part, release) => {
      await turn();
      hash.update(part);
      bytes += part.length;
      release();
    },
    finish: () => Promise.resolve({ files: 7 }),
    abort: () => Promise.resolve(),
  });
  return { sink, digest: () => hash.digest("hex"), bytes: () => bytes };
}

function frameOfBytes(bytes: Buffer): Buffer {
  const frame = allocateJobFrame(bytes.length);
  bytes.copy(frame, jobHeaderBytes);
  return frame;
}

describe("a job", () => {
  test.each([1, 2, 3])("arrives whole and in order over %d connections", async (streams) => {
    const { sink, digest } = hashing();
    const { jobs, connect } = ends(sink);
    for (let i = 0; i < streams; i++) connect();
    const hash = createHash("sha256");
    const files = await jobs.run(spec, 4, signal, async ({ send }) => {
      for (let i = 0; i < 300; i++) {
        const bytes = randomBytes(1 + ((i * 7919) % 60_000));
        hash.update(bytes);
        await send(frameOfBytes(bytes));
      }
    });
    expect(files).toBe(7);
    expect(digest()).toBe(hash.digest("hex"));
  });

  test("arrives though the destination has lost a connection, and made another one, before the source noticed", async () => {
    const { sink, bytes } = hashing();
    const { jobs, receive, connect } = ends(sink);
    connect();
    let isDeaf = false;
    const state: { target?: FrameHandler } = {};
    const { links: lossy } = linkPair(
      (frame) => sourceOfLossy(frame),
      (frame) => (isDeaf ? undefined : state.target?.(frame)),
    );
    const sourceOfLossy = jobs.attach(lossy[0]);
    state.target = receive.attach(lossy[1]);
    const files = await jobs.run(spec, 4, signal, async ({ send }) => {
      for (let i = 0; i < 60; i++) {
        isDeaf ||= i === 20;
        await send(frameOfBytes(randomBytes(50_000)));
      }
      connect();
      for (let wait = 0; wait < 20; wait++) await turn();
      lossy[0].close(new Error("noticed late"));
    });
    expect(files).toBe(7);
    expect(bytes()).toBe(60 * 50_000);
  });

  test("goes on where what the destination has said of applied frames was lost with its connection", async () => {
    const { sink, bytes } = hashing();
    const { jobs, receive, connect } = ends(sink);
    const state: { target?: FrameHandler } = {};
    // Nothing comes back.
    const { links: lossy } = linkPair(
      () => undefined,
      (frame) => state.target?.(frame),
    );
    jobs.attach(lossy[0]);
    state.target = receive.attach(lossy[1]);
    const sending = jobs.run(spec, 4, signal, async ({ send }) => {
      for (let i = 0; i < 50; i++) await send(frameOfBytes(randomBytes(200_000)));
    });
    const mostBytes = 39 * 200_000;
    await expect.poll(bytes).toBeGreaterThan(mostBytes);
    lossy[1].close(new Error("cut"));
    connect();
    expect(await sending).toBe(7);
    expect(bytes()).toBe(50 * 200_000);
  });

  test("survives connections that are cut again and again, and sends nothing twice that has arrived", async () => {
    const frameBytes = 64 * 1024;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(119), { minLength: 1, maxLength: 10 }),
        fc.integer({ min: 1, max: 3 }),
        async (cuts, streams) => {
          const { sink, digest } = hashing();
          const { jobs, connect } = ends(sink);
          const links = Array.from({ length: streams }, connect);
          let sentBytes = 0;
          const hash = createHash("sha256");
          await jobs.run(spec, 1, signal, async ({ send }) => {
            for (let i = 0; i < 120; i++) {
              const bytes = randomBytes(frameBytes);
              hash.update(bytes);
              await send(frameOfBytes(bytes));
              for (const cut of cuts.filter((each) => each === i)) {
                const at = cut % streams;
                links[at]?.close(new Error("cut"));
                sentBytes += links[at]?.bytesSent ?? 0;
                await turn();
                links[at] = connect();
              }
            }
          });
          for (const link of links) sentBytes += link.bytesSent;
          expect(digest()).toBe(hash.digest("hex"));
          // Of each cut connection at most what it had in flight: its window, and the pipe's buffer.
          const lost = cuts.length * (256 * 1024 + 2 * (frameBytes + 64) + 32 * 1024);
          expect(sentBytes).toBeLessThanOrEqual(120 * (frameBytes + 64) + lost + 10_000);
        },
      ),
      { numRuns: 25 },
    );
  });

  test("that ended while no connection was there is known to have ended", async () => {
    const gate = Promise.withResolvers<{ files: number }>();
    const sink = (): JobSink => ({
      write: () => Promise.resolve(),
      finish: () => gate.promise,
      abort: () => Promise.resolve(),
    });
    const { jobs, connect } = ends(sink);
    const link = connect();
    const done = jobs.run(spec, 1, signal, ({ send }) => send(frameOfBytes(Buffer.from("x"))));
    for (let i = 0; i < 50; i++) await turn();
    link.close(new Error("cut"));
    await link.closed;
    gate.resolve({ files: 3 });
    await turn();
    connect();
    expect(await done).toBe(3);
  });

  test("waits while the destination is slow", async () => {
    const gate = Promise.withResolvers<undefined>();
    const sink = (): JobSink => ({
      write: () => gate.promise,
      finish: () => Promise.resolve({ files: 1 }),
      abort: () => Promise.resolve(),
    });
    const { jobs, connect } = ends(sink);
    connect();
    let sent = 0;
    const done = jobs.run(spec, 4, signal, async ({ send }) => {
      for (; sent < 200; sent++) await send(frameOfBytes(Buffer.alloc(128 * 1024)));
    });
    for (let i = 0; i < 300; i++) await turn();
    // 8 MiB of frames that were not applied, and no more.
    expect(sent).toBeLessThanOrEqual(64);
    gate.resolve(undefined);
    await done;
    expect(sent).toBe(200);
  });

  test("is compressed when that was planned, and arrives as it was", async () => {
    const { sink, digest, bytes } = hashing();
    const { jobs, connect } = ends(sink, true);
    const link = connect();
    const hash = createHash("sha256");
    await jobs.run(spec, 4, signal, async ({ send }) => {
      for (let i = 0; i < 20; i++) {
        const part = Buffer.alloc(100_000, `compressible ${i}`);
        hash.update(part);
        await send(frameOfBytes(part));
      }
    });
    expect(digest()).toBe(hash.digest("hex"));
    expect(bytes()).toBe(2_000_000);
    expect(link.bytesSent).toBeLessThan(200_000);
  });

  test("fails with the destination's reason", async () => {
    const sink = (): JobSink => ({
      write: () => Promise.reject(new Error("no room left")),
      finish: () => Promise.resolve({ files: 0 }),
      abort: () => Promise.resolve(),
    });
    const { jobs, connect } = ends(sink);
    connect();
    const run = jobs.run(spec, 4, signal, async ({ send }) => {
      for (;;) await send(frameOfBytes(Buffer.alloc(1000)));
    });
    await expect(run).rejects.toMatchObject({ code: "transfer-failed", message: "the destination: no room left" });
  });

  test("is ended at the destination when it is cancelled here", async () => {
    let aborted = 0;
    const sink = (): JobSink => ({
      write: () => Promise.resolve(),
      finish: () => Promise.resolve({ files: 0 }),
      abort: () => {
        aborted++;
        return Promise.resolve();
      },
    });
    const { jobs, connect } = ends(sink);
    connect();
    const cancel = new AbortController();
    const run = jobs.run(spec, 4, cancel.signal, async ({ send, signal: ended }) => {
      await send(frameOfBytes(Buffer.alloc(1000)));
      await new Promise((_resolve, reject) => ended.addEventListener("abort", () => reject(new Error("ended"))));
    });
    for (let i = 0; i < 20; i++) await turn();
    cancel.abort();
    await expect(run).rejects.toMatchObject({ code: "cancelled" });
    for (let i = 0; i < 20; i++) await turn();
    expect(aborted).toBe(1);
  });
});

test("a job's end tells which files the destination lacks", async () => {
  const { jobs, connect } = ends(() => ({
    write: () => Promise.resolve(),
    finish: () => Promise.resolve({ files: 3, missing: [0, 7] }),
    abort: () => Promise.resolve(),
  }));
  connect();
  const told: unknown[] = [];
  const send = ({ send }: JobWork): Promise<void> => send(frameOfBytes(Buffer.from("x")));
  expect(await jobs.run(spec, 1, signal, send, (done) => told.push(done))).toBe(3);
  expect(told).toEqual([{ files: 3, missing: [0, 7] }]);
  const refuse = (): void => {
    throw new Error("never sent");
  };
  await expect(jobs.run(spec, 1, signal, send, refuse)).rejects.toThrow("never sent");
});

describe("a peer that knows the secret", () => {
  test("says what has arrived once on a connection: it would be answered without end", async () => {
    const { jobs } = ends(hashing().sink);
    const handlers: { source?: FrameHandler } = {};
    const { links } = linkPair(
      (frame) => handlers.source?.(frame),
      () => undefined,
    );
    handlers.source = jobs.attach(links[0]);
    links[1].write(frameTypes.jobState, 0, encodeState({ jobs: [] }));
    links[1].write(frameTypes.jobState, 0, encodeState({ jobs: [] }));
    expect((await links[0].closed)?.message).toContain("said twice");
  });

  test("begins no jobs without end", async () => {
    const { receive } = ends(hashing().sink);
    const handlers: { target?: FrameHandler } = {};
    const { links } = linkPair(
      () => undefined,
      (frame) => handlers.target?.(frame),
    );
    handlers.target = receive.attach(links[1]);
    for (let channel = 1; channel < 20_000; channel++) {
      const cancel = allocateJobFrame(0);
      numberJobFrame(cancel, 0);
      links[0].write(frameTypes.jobCancel, channel, cancel);
    }
    expect((await links[1].closed)?.message).toMatch(/more than \d+ jobs/);
  });

  test("is not answered without end when it reads nothing", { timeout: 60_000 }, async () => {
    const done = (): Promise<void> => Promise.resolve();
    const { receive } = ends(() => ({ write: done, finish: () => Promise.resolve({ files: 0 }), abort: done }));
    const handlers: { target?: FrameHandler } = {};
    const { links } = linkPair(
      () => new Promise(() => undefined),
      (frame) => handlers.target?.(frame),
    );
    handlers.target = receive.attach(links[1]);
    const begin = encodeJob(spec);
    numberJobFrame(begin, 0);
    links[0].write(frameTypes.jobBegin, 1, begin);
    for (let number = 1; links[1].open && number < 500_000; number++) {
      const data = allocateJobFrame(0);
      numberJobFrame(data, number);
      links[0].write(frameTypes.jobData, 1, data);
      await turn();
    }
    expect((await links[1].closed)?.message).toContain("reads nothing");
  });
});
