/** The scheduler over simulated connections: how long an urgent frame waits. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameTypes } from "../../../services/shared/core/frames/frame.ts";
import type { FramedLink } from "../../../services/shared/link/framed.ts";
import { StreamScheduler, type Parcel } from "../../../services/shipper/stream-scheduler.ts";

const windowBytes = 256 * 1024;

/** A connection that carries one frame at a time, when it is told to. */
class SimulatedLink implements FramedLink {
  readonly sent: number[] = [];
  readonly #queue: { channel: number; bytes: number; onWritten: (() => void) | undefined }[] = [];
  readonly bytesSent = 0;
  readonly bytesReceived = 0;
  readonly open = true;
  readonly closed = new Promise<undefined>(() => undefined);
  readonly close = (): void => undefined;

  get pendingBytes(): number {
    return this.#queue.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get pendingFrames(): number {
    return this.#queue.length;
  }

  write(_type: number, channel: number, frame: Buffer, { onWritten }: { onWritten?: () => void } = {}): void {
    this.#queue.push({ channel, bytes: frame.length, onWritten });
  }

  /** False when there was nothing to carry. */
  carry(): boolean {
    const frame = this.#queue.shift();
    if (frame === undefined) return false;
    this.sent.push(frame.channel);
    frame.onWritten?.();
    return true;
  }
}

const parcel = (channel: number, bytes: number): Parcel => ({
  type: frameTypes.jobData,
  channel,
  flags: 0,
  frame: Buffer.alloc(bytes),
  link: undefined,
});

function setUp(
  count: number,
  onUrgent?: (isWaiting: boolean) => void,
): { scheduler: StreamScheduler; links: SimulatedLink[] } {
  const scheduler = new StreamScheduler(onUrgent);
  const links = Array.from({ length: count }, () => new SimulatedLink());
  for (const link of links) scheduler.add(link);
  return { scheduler, links };
}

const bulk = fc.array(
  fc.record({ priority: fc.constantFrom(2, 3, 4), bytes: fc.integer({ min: 1, max: windowBytes }) }),
  {
    minLength: 1,
    maxLength: 60,
  },
);

describe("an urgent frame", () => {
  test.each([0, 1] as const)("of class %d waits for nothing where a connection is kept for it", (priority) => {
    fc.assert(
      fc.property(bulk, fc.integer({ min: 2, max: 5 }), fc.nat(30), (frames, streams, carried) => {
        const { scheduler, links } = setUp(streams);
        for (const { priority: each, bytes } of frames) scheduler.push(parcel(1, bytes), each);
        for (let i = 0; i < carried; i++) links[i % streams]?.carry();
        scheduler.push(parcel(9, 4096), priority);
        // Nothing else is ever on that connection, so it is the first to leave, at once.
        const kept = links[0];
        const next = links.find((link) => {
          const before = link.sent.length;
          link.carry();
          return link.sent.slice(before).includes(9);
        });
        expect(kept?.sent.filter((channel) => channel === 1)).toEqual([]);
        expect(next).toBeDefined();
      }),
    );
  });

  test("waits on a single connection for what is in flight only: one window and one frame", () => {
    fc.assert(
      fc.property(bulk, fc.nat(30), (frames, carried) => {
        const { scheduler, links } = setUp(1);
        const [link] = links;
        for (const { priority, bytes } of frames) scheduler.push(parcel(1, bytes), priority);
        for (let i = 0; i < carried; i++) link?.carry();
        const inFlight = link?.pendingBytes ?? 0;
        expect(inFlight).toBeLessThan(windowBytes + windowBytes);
        const ahead = link?.pendingFrames ?? 0;
        scheduler.push(parcel(9, 4096), 0);
        const before = link?.sent.length ?? 0;
        while (link?.carry() === true);
        expect(link?.sent.indexOf(9)).toBe(before + ahead);
      }),
    );
  });
});

test("all that was pushed leaves, by one connection each", () => {
  fc.assert(
    fc.property(bulk, fc.integer({ min: 1, max: 4 }), (frames, streams) => {
      const { scheduler, links } = setUp(streams);
      frames.forEach(({ priority, bytes }, at) => scheduler.push(parcel(at, bytes), priority));
      while (links.some((link) => link.carry()));
      const sent = links.flatMap((link) => link.sent).sort((a, b) => a - b);
      expect(sent).toEqual(frames.map((_, at) => at));
      expect(scheduler.waiting).toBe(0);
    }),
  );
});

test("that urgent frames wait is told from the first that is pushed to the last that was carried, or taken back", () => {
  const told: boolean[] = [];
  const { scheduler, links } = setUp(1, (isWaiting) => told.push(isWaiting));
  scheduler.push(parcel(1, windowBytes), 4);
  expect(told).toEqual([]);
  scheduler.push(parcel(2, 4096), 1);
  const last = scheduler.push(parcel(3, 4096), 1);
  expect(told).toEqual([true]);
  while (links[0]?.carry() === true);
  expect(links[0]?.sent).toEqual([1, 2, 3]);
  expect(told).toEqual([true, false]);
  expect(scheduler.cancel(last)).toBe(false);
  scheduler.push(parcel(4, windowBytes), 4);
  const lost = scheduler.push(parcel(5, 4096), 1);
  expect(scheduler.cancel(lost)).toBe(true);
  expect(told).toEqual([true, false, true, false]);
});

test("without a connection nothing else is to wait for urgent frames", () => {
  const told: boolean[] = [];
  const { scheduler } = setUp(0, (isWaiting) => told.push(isWaiting));
  scheduler.push(parcel(1, 4096), 1);
  expect(told).toEqual([]);
  const link = new SimulatedLink();
  scheduler.add(link);
  expect(told).toEqual([true]);
  link.carry();
  expect(told).toEqual([true, false]);
});
