import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { linkPair } from "../../../helpers/link-pair.ts";
import { allocateFrame, frameOf, frameTypes, writeFrameHeader } from "../../../../services/shared/core/frames/frame.ts";

const nothing = (): undefined => undefined;
const data = (text: string): Buffer => frameOf(Buffer.from(text));

describe("a framed link", () => {
  test("gives the other end's frames in order, and counts bytes with headers", async () => {
    const got: string[] = [];
    const { links } = linkPair(nothing, ({ channel, payload }) => void got.push(`${channel} ${payload.toString()}`));
    const [left, right] = links;
    for (let i = 0; i < 100; i++) left.write(frameTypes.jobData, i, data("x".repeat(i)));
    left.close();
    expect(await right.closed).toEqual(new Error("the peer closed the connection"));
    expect(got).toEqual(Array.from({ length: 100 }, (_each, i) => `${i} ${"x".repeat(i)}`));
    expect(left.bytesSent).toBe(100 * 16 + (99 * 100) / 2);
    expect(right.bytesReceived).toBe(left.bytesSent);
    expect(await left.closed).toBeUndefined();
  });

  test("reads no more while its handler is busy, and loses nothing", async () => {
    const got: number[] = [];
    let running = 0;
    const { links } = linkPair(nothing, async ({ channel }) => {
      running++;
      expect(running).toBe(1);
      await setImmediate();
      got.push(channel);
      running--;
    });
    const [left, right] = links;
    let written = 0;
    for (let i = 0; i < 300; i++)
      left.write(frameTypes.jobData, i, allocateFrame(4_096), { onWritten: () => written++ });
    await sleep(1);
    // Back-pressure: the writer is not far ahead of the reader.
    expect(written).toBeLessThan(got.length + 20);
    while (got.length < 300) await setImmediate();
    expect(got).toEqual([...got].sort((a, b) => a - b));
    right.close();
    await left.closed;
  });

  test("is ended by what its handler throws, at once or later", async () => {
    const failing = [
      (): never => {
        throw new Error("refused");
      },
      () => Promise.reject(new Error("refused")),
    ];
    for (const handler of failing) {
      const { links } = linkPair(nothing, handler);
      links[0].write(frameTypes.jobData, 1, data("x"));
      expect(await links[1].closed).toEqual(new Error("refused"));
      expect(links[1].open).toBe(false);
      expect(await links[0].closed).toBeInstanceOf(Error);
    }
  });

  test("is ended by bytes that are no frame", async () => {
    const { links, sockets } = linkPair(nothing, nothing);
    sockets[0].write(Buffer.alloc(16, 0xff));
    expect(String(await links[1].closed)).toContain("FrameError");
  });

  test("tells an end within a frame from one between frames", async () => {
    const { links, sockets } = linkPair(nothing, nothing);
    const frame = data("cut short");
    writeFrameHeader(frame, { type: frameTypes.jobData, flags: 0, channel: 1 }, 0);
    sockets[0].end(frame.subarray(0, -1));
    expect(String(await links[1].closed)).toContain("ended within a frame");
  });

  test("keeps its first reason, and writes nothing once it is gone", async () => {
    const { links } = linkPair(nothing, nothing);
    links[0].close(new Error("first"));
    links[0].close(new Error("second"));
    links[0].write(frameTypes.jobData, 1, data("x"));
    expect(await links[0].closed).toEqual(new Error("first"));
    expect(links[0].bytesSent).toBe(0);
  });
});
