import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  allocateFrame,
  FrameError,
  frameOf,
  frameTypes,
  writeFrameHeader,
} from "../../../../services/shared/core/frames/frame.ts";
import { putIn } from "../../../../services/shared/adapters/socket-handover.ts";
import { ciphersOf } from "../../../../services/shared/link/connection.ts";
import { openConnection, type FrameHandler } from "../../../../services/shared/link/framed.ts";
import { sealRecord } from "../../../helpers/cipher-pair.ts";
import { linkPair } from "../../../helpers/link-pair.ts";
import { socketPair } from "../../../helpers/socket-pair.ts";

const nothing = (): undefined => undefined;
const data = (text: string): Buffer => frameOf(Buffer.from(text));
/** A record's head, and its tag. */
const recordExtraBytes = 4 + 16;

/** A frame as it travels. */
function encode(channel: number, text: string, sequence: number): Buffer {
  const frame = data(text);
  writeFrameHeader(frame, { type: frameTypes.jobData, flags: 0, channel }, sequence);
  return frame;
}

describe("a framed link", () => {
  test("gives the other end's frames in order, and counts bytes of whole records", async () => {
    const got: string[] = [];
    const { links } = linkPair(nothing, ({ channel, payload }) => void got.push(`${channel} ${payload.toString()}`));
    const [left, right] = links;
    for (let i = 0; i < 100; i++) left.write(frameTypes.jobData, i, data("x".repeat(i)));
    left.close();
    expect(await right.closed).toEqual(new Error("the peer closed the connection"));
    expect(got).toEqual(Array.from({ length: 100 }, (_each, i) => `${i} ${"x".repeat(i)}`));
    expect(left.bytesSent).toBe(100 * (recordExtraBytes + 16) + (99 * 100) / 2);
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

  test("is ended by bytes that are no record", async () => {
    const { links, sockets } = linkPair(nothing, nothing);
    sockets[0].write(Buffer.alloc(16, 0xff));
    expect(String(await links[1].closed)).toContain("FrameError: a record announces 4294967295 bytes");
  });

  test("is ended by a record that was changed on its way", async () => {
    const { links, sockets, ciphers } = linkPair(nothing, nothing);
    const record = sealRecord(ciphers[0].send, encode(1, "x", 0));
    record[record.length - 1] = (record.at(-1) ?? 0) ^ 1;
    sockets[0].write(record);
    expect(await links[1].closed).toEqual(new FrameError("a record was changed on its way"));
  });

  test("is ended by what is no frame, though its record is one", async () => {
    const { links, sockets, ciphers } = linkPair(nothing, nothing);
    sockets[0].write(sealRecord(ciphers[0].send, encode(1, "x", 1)));
    expect(await links[1].closed).toEqual(new FrameError("frame 1 arrived where frame 0 was due"));
  });

  test("tells an end within a record from one between records", async () => {
    const { links, sockets, ciphers } = linkPair(nothing, nothing);
    sockets[0].end(sealRecord(ciphers[0].send, encode(1, "cut short", 0)).subarray(0, -1));
    expect(await links[1].closed).toEqual(new FrameError("the connection ended within a record"));
  });

  describe.each([
    [
      "at once",
      (got: string[]): FrameHandler =>
        ({ channel, payload }) =>
          void got.push(`${channel} ${payload.toString()}`),
    ],
    [
      "in its time",
      (got: string[]): FrameHandler =>
        async ({ channel, payload }) => {
          await setImmediate();
          got.push(`${channel} ${payload.toString()}`);
        },
    ],
  ])("whose handler takes each frame %s", (_how, handler) => {
    test("gives it all frames of a record, each with its own contents", async () => {
      const got: string[] = [];
      const { links, sockets, ciphers } = linkPair(nothing, handler(got));
      const frames = ["one", "", "three"].map((text, at) => encode(at, text, at));
      const records = [frames, [encode(3, "four", 3)], [encode(4, "five", 4), encode(5, "six", 5)]].map((each) =>
        sealRecord(ciphers[0].send, Buffer.concat(each)),
      );
      sockets[0].write(Buffer.concat(records));
      await expect.poll(() => got).toEqual(["0 one", "1 ", "2 three", "3 four", "4 five", "5 six"]);
      expect(links[1].open).toBe(true);
    });

    test("gives it the frames of a real connection, those read ahead first", async () => {
      const pair = socketPair("tls");
      const got: string[] = [];
      const [theirs, mine] = pair.connections;
      const { send } = ciphersOf(theirs);
      const stream = Buffer.concat(Array.from({ length: 20 }, (_each, at) => sealRecord(send, encode(at, "x", at))));
      const peer = putIn(theirs);
      const link = openConnection({ ...mine, ahead: stream.subarray(0, 100) }, { onFrame: handler(got) });
      peer.write(stream.subarray(100));
      await expect.poll(() => got).toEqual(Array.from({ length: 20 }, (_each, at) => `${at} x`));
      expect(link.bytesReceived).toBe(stream.length);
      peer.end();
      expect(await link.closed).toEqual(new Error("the peer closed the connection"));
    });
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
