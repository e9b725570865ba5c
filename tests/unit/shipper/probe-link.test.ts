/** A probe over a connection that is as fast as a token bucket lets it be. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { allocateJobFrame, maxProbeBytes } from "../../../services/shared/core/frames/job-message.ts";
import { openFramedLink, type FrameHandler } from "../../../services/shared/link/framed.ts";
import { cipherPair } from "../../helpers/cipher-pair.ts";
import { createLog } from "../../../services/shared/log.ts";
import { FileJobs } from "../../../services/shipper/file-jobs.ts";
import { probeLink, probeSink } from "../../../services/shipper/probe-link.ts";
import { ReceiveJobs } from "../../../services/shipper/receive-jobs.ts";

const { signal } = new AbortController();
/** Of the time that a probe takes, what passes at once at its beginning. */
const burstMs = 15;
const opened: FileJobs[] = [];
afterEach(() => {
  for (const jobs of opened.splice(0)) jobs.close(new Error("the test is over"));
});

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ noDelay: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", noDelay: true });
  const [far] = (await once(server, "connection")) as [Socket];
  server.close();
  for (const socket of [near, far]) socket.on("error", () => undefined);
  return [near, far];
}

/** Passes on what comes, a burst at once and then so much per second. */
async function shape(from: Socket, to: Socket, bytesPerSecond: number): Promise<void> {
  const started = performance.now();
  let passed = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    passed += chunk.length;
    const due = started + (passed / bytesPerSecond) * 1000 - burstMs;
    if (due > performance.now()) await sleep(due - performance.now());
    if (!to.write(chunk)) await once(to, "drain");
  }
}

/** Two shippers, and so many bytes per second from the first to the second; 0: nothing comes through. */
async function shippers(bytesPerSecond: number): Promise<{ jobs: FileJobs; written: () => number }> {
  const jobs = new FileJobs();
  opened.push(jobs);
  let written = 0;
  const sinks = {
    probe: probeSink,
    other: () => ({
      write: (bytes: Buffer, release: () => void) => {
        written += bytes.length;
        release();
        return Promise.resolve();
      },
      finish: () => Promise.resolve({ files: 1 }),
      abort: () => Promise.resolve(),
    }),
  };
  const receive = new ReceiveJobs({
    log: createLog("test", "silent"),
    onDone: () => undefined,
    open: ({ kind }) => (kind === "probe" ? sinks.probe() : sinks.other()),
  });
  const [[source, way], [far, target]] = await Promise.all([socketPair(), socketPair()]);
  const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
  const [here, there] = cipherPair("plain");
  handlers.source = jobs.attach(openFramedLink(source, here, (frame) => handlers.source?.(frame)));
  handlers.target = receive.attach(openFramedLink(target, there, (frame) => handlers.target?.(frame)));
  far.pipe(way);
  if (bytesPerSecond > 0) shape(way, far, bytesPerSecond).catch(() => undefined);
  return { jobs, written: () => written };
}

test.each([2e6, 20e6])("finds what the link carries: %d bytes per second", async (bytesPerSecond) => {
  const { jobs } = await shippers(bytesPerSecond);
  const probe = await probeLink(jobs, signal);
  // A busy machine may be slower than the link, but nothing is faster.
  expect(probe.bytesPerSecond).toBeGreaterThan(0.5 * bytesPerSecond);
  expect(probe.bytesPerSecond).toBeLessThan(1.25 * bytesPerSecond);
  expect(probe.ms).toBeLessThan(600);
});

test("over a fast link it ends with its bytes, and what comes after it is whole", async () => {
  const { jobs, written } = await shippers(1e12);
  let best = 0;
  // A busy machine is slower than the link, now and then.
  for (let n = 0; n < 8 && best <= 30e6; n++) {
    const { bytes, bytesPerSecond } = await probeLink(jobs, signal);
    expect(bytes).toBeLessThan(1.01 * maxProbeBytes);
    best = Math.max(best, bytesPerSecond);
  }
  expect(best).toBeGreaterThan(30e6);
  const files = await jobs.run({ kind: "trees", trees: [{ kind: "images" }] }, 4, signal, async ({ send }) => {
    for (let n = 0; n < 100; n++) await send(allocateJobFrame(1_000));
  });
  expect([files, written()]).toEqual([1, 100_000]);
});

test("a job that comes right after it waits for little of it", async () => {
  const { jobs } = await shippers(2e6);
  await probeLink(jobs, signal);
  const began = performance.now();
  await jobs.run({ kind: "trees", trees: [{ kind: "images" }] }, 1, signal, ({ send }) => send(allocateJobFrame(10)));
  // What the way holds already, not all that the probe would have sent.
  expect(performance.now() - began).toBeLessThan(700);
});

test("nothing comes through: it says so, and does not wait for long", async () => {
  const { jobs } = await shippers(0);
  const began = performance.now();
  await expect(probeLink(jobs, signal)).rejects.toMatchObject({ code: "transfer-failed" });
  expect(performance.now() - began).toBeLessThan(2_500);
});

test("ends when it is cancelled", async () => {
  const { jobs } = await shippers(0);
  const cancelled = new AbortController();
  const probe = probeLink(jobs, cancelled.signal);
  cancelled.abort(new Error("enough"));
  await expect(probe).rejects.toMatchObject({ code: "cancelled" });
});

test("the destination takes no more than a probe has", async () => {
  const { write, finish } = probeSink();
  const bytes = Buffer.alloc(1 << 20);
  for (let sent = 0; sent < maxProbeBytes; sent += bytes.length) await write(bytes, () => undefined);
  await expect((async () => write(Buffer.alloc(1), () => undefined))()).rejects.toThrow("larger");
  expect(await finish()).toEqual({ files: 0 });
});
