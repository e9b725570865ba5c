/** Over a connection of the system's own, without an event loop. */
import { randomBytes } from "node:crypto";
import { writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tagBytes } from "../../../../services/shared/adapters/aes-gcm.ts";
import {
  allocateFrame,
  FrameError,
  frameHeaderBytes,
  frameOf,
  frameTypes,
  maxPayloadBytes,
  writeFrameHeader,
  type Frame,
} from "../../../../services/shared/core/frames/frame.ts";
import { PayloadPool, recordRoomBytes } from "../../../../services/shared/core/frames/payload-pool.ts";
import { recordHeadBytes } from "../../../../services/shared/core/frames/record.ts";
import { ciphersOf } from "../../../../services/shared/link/connection.ts";
import { ConnectionLost, RecordSocket } from "../../../../services/shared/link/record-socket.ts";
import { sealRecord } from "../../../helpers/cipher-pair.ts";
import { socketPair, type SocketPair } from "../../../helpers/socket-pair.ts";

const allocate = (bytes: number): Buffer => Buffer.allocUnsafeSlow(bytes);

function readAll(socket: RecordSocket): Frame[] {
  const frames: Frame[] = [];
  for (let record = socket.read(); record !== undefined; record = socket.read()) frames.push(...record.frames);
  return frames;
}

/** A frame as it travels. */
function encode(channel: number, payload: Buffer, sequence: number): Buffer {
  const frame = frameOf(payload);
  writeFrameHeader(frame, { type: frameTypes.jobData, flags: 0, channel }, sequence);
  return frame;
}

describe.each(["tls", "plain"] as const)("a record socket by %s", (security) => {
  let pair: SocketPair;
  let [left, right]: RecordSocket[] = [];

  function open(sendBufferBytes?: number): [RecordSocket, RecordSocket] {
    pair = socketPair(security, sendBufferBytes);
    left = new RecordSocket(pair.connections[0], allocate);
    right = new RecordSocket(pair.connections[1], allocate);
    return [left, right];
  }
  beforeEach(() => open());
  afterEach(() => {
    left?.close();
    right?.close();
    pair.closeAll();
  });
  const ends = (): [RecordSocket, RecordSocket] => {
    if (left === undefined || right === undefined) throw new Error("no socket");
    return [left, right];
  };

  test("brings frames of all sizes, both ways, and both ends count the same bytes", () => {
    const [one, other] = ends();
    const lengths = [0, 1, 2, 3, 4, 5, 100, 4_095, 4_096, 65_536, maxPayloadBytes];
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      let bytes = 0;
      for (const [channel, length] of lengths.entries()) {
        const payload = randomBytes(length);
        from.write(frameTypes.pages, channel, frameOf(payload), 3);
        bytes += recordHeadBytes + frameHeaderBytes + length + tagBytes;
        const got: Frame[] = [];
        do {
          from.flush();
          got.push(...readAll(to));
        } while (from.isWriting);
        expect(got).toHaveLength(1);
        expect(got[0]).toMatchObject({ type: frameTypes.pages, channel, flags: 3 });
        expect(got[0]?.payload.equals(payload)).toBe(true);
      }
      expect(from.bytesSent).toBe(bytes);
      expect(to.bytesReceived).toBe(bytes);
    }
  });

  test("sends nothing before it is flushed, and what was written in one go together and in order", () => {
    const [one, other] = ends();
    for (let channel = 0; channel < 50; channel++) one.write(frameTypes.jobData, channel, frameOf(Buffer.from("x")));
    expect(one.isWriting).toBe(true);
    expect(readAll(other)).toEqual([]);
    one.flush();
    expect(one.isWriting).toBe(false);
    expect(readAll(other).map(({ channel }) => channel)).toEqual(Array.from({ length: 50 }, (_each, at) => at));
  });

  test("keeps what the system has no room for, and goes on where it was", () => {
    pair.closeAll();
    const [one, other] = open(8_192);
    const sent: Buffer[] = [];
    const got: Buffer[] = [];
    let waits = 0;
    for (let channel = 0; channel < 40; channel++) {
      const payload = randomBytes(50_000 + channel);
      sent.push(payload);
      while (!one.hasRoom(frameHeaderBytes + payload.length)) {
        one.flush();
        got.push(...readAll(other).map((frame) => frame.payload));
      }
      one.write(frameTypes.jobData, channel, frameOf(payload));
      one.flush();
      if (one.isWriting) waits++;
    }
    expect(waits).toBeGreaterThan(10);
    while (one.isWriting) {
      got.push(...readAll(other).map((frame) => frame.payload));
      one.flush();
    }
    got.push(...readAll(other).map((frame) => frame.payload));
    expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
    expect(got).toHaveLength(sent.length);
    expect(other.bytesReceived).toBe(one.bytesSent);
  });

  test("has room for a frame of the largest size while nothing waits, and refuses what it has no room for", () => {
    const [one] = ends();
    const largest = frameHeaderBytes + maxPayloadBytes;
    expect(one.hasRoom(largest)).toBe(true);
    let written = 0;
    for (; one.hasRoom(largest); written++) one.write(frameTypes.jobData, 0, allocateFrame(maxPayloadBytes));
    expect(written).toBe(2);
    expect(() => one.write(frameTypes.jobData, 0, allocateFrame(maxPayloadBytes))).toThrow("no room");
  });

  test("leaves a frame that it has sent as it was, but for its header, which it may be sent again with", () => {
    const [one, other] = ends();
    const payload = randomBytes(100);
    const frame = frameOf(payload);
    for (let round = 0; round < 2; round++) one.write(frameTypes.jobData, 9, frame);
    one.flush();
    expect(readAll(other).map((each) => each.payload)).toEqual([payload, payload]);
  });

  test("begins with what was read ahead, wherever that ends", () => {
    const contents = [randomBytes(10), Buffer.alloc(0), randomBytes(300)];
    const total = contents.reduce(
      (sum, { length }) => sum + length,
      3 * (recordHeadBytes + frameHeaderBytes + tagBytes),
    );
    for (let at = 0; at <= total; at++) {
      const each = socketPair(security);
      const [theirs, mine] = each.connections;
      const { send } = ciphersOf(theirs);
      const stream = Buffer.concat(contents.map((payload, index) => sealRecord(send, encode(index, payload, index))));
      const socket = new RecordSocket({ ...mine, ahead: stream.subarray(0, at) }, allocate);
      const early = readAll(socket);
      writeSync(theirs.fd, stream.subarray(at));
      const got = [...early, ...readAll(socket)];
      expect(got.map((frame) => frame.payload)).toEqual(contents);
      expect(socket.bytesReceived).toBe(total);
      if (at === total) expect(early).toHaveLength(contents.length);
      socket.close();
      send.close();
      each.closeAll();
    }
  });

  test("takes all frames of a record, into memory that is the caller's", () => {
    const [theirs, mine] = pair.connections;
    ends()[1].close();
    const asked: Buffer[] = [];
    const socket = new RecordSocket(mine, (bytes) => {
      const memory = allocate(bytes);
      asked.push(memory);
      return memory;
    });
    const { send } = ciphersOf(theirs);
    const record = Buffer.concat([encode(1, Buffer.from("one"), 0), encode(2, Buffer.from("two"), 1)]);
    writeSync(theirs.fd, sealRecord(send, record));
    const read = socket.read();
    expect(read?.frames.map(({ channel, payload }) => `${channel} ${payload.toString()}`)).toEqual(["1 one", "2 two"]);
    expect(read?.memory).toBe(asked[0]);
    for (const { payload } of read?.frames ?? []) expect(payload.buffer).toBe(read?.memory.buffer);
    expect(socket.read()).toBeUndefined();
    socket.close();
    send.close();
  });

  test("takes no more memory for a record than a pool gives", () => {
    ends()[1].close();
    const pool = new PayloadPool();
    const sizes: number[] = [];
    const socket = new RecordSocket(pair.connections[1], (bytes) => {
      sizes.push(bytes);
      return pool.take(bytes);
    });
    const [one] = ends();
    const payload = randomBytes(maxPayloadBytes);
    for (let round = 0; round < 3; round++) {
      one.write(frameTypes.jobData, round, frameOf(payload));
      let got: ReturnType<RecordSocket["read"]>;
      do {
        one.flush();
        got = socket.read();
      } while (got === undefined);
      expect(got.frames[0]?.payload.equals(payload)).toBe(true);
      pool.release(got.memory);
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(recordRoomBytes);
    socket.close();
  });

  test("learns that the other end is gone, after all that came before, and by writing too", () => {
    const [one, other] = ends();
    one.write(frameTypes.jobData, 5, frameOf(Buffer.from("last")));
    one.flush();
    pair.close(0);
    expect(other.read()?.frames.map(({ channel }) => channel)).toEqual([5]);
    // The system has said that there is no more just now: it is asked again the next time.
    expect(other.read()).toBeUndefined();
    expect(() => other.read()).toThrow(ConnectionLost);
    other.write(frameTypes.jobData, 1, frameOf(Buffer.from("too late")));
    expect(() => other.flush()).toThrow(ConnectionLost);
  });

  test("learns it within a record as well", () => {
    const [one, other] = ends();
    const [theirs] = pair.connections;
    const record = sealRecord(ciphersOf(theirs).send, encode(1, Buffer.from("cut"), 0));
    writeSync(theirs.fd, record.subarray(0, -1));
    expect(other.read()).toBeUndefined();
    one.close();
    pair.close(0);
    expect(() => other.read()).toThrow(ConnectionLost);
  });

  test("refuses a record that none has", () => {
    const [, other] = ends();
    writeSync(pair.connections[0].fd, Buffer.alloc(64, 0xff));
    expect(() => other.read()).toThrow(FrameError);
  });

  test("frees what it takes, however often it is told to", () => {
    const [one] = ends();
    one.close();
    one.close();
  });
});

test.each([
  ["changed", (records: Buffer[]) => records.map((each, at) => (at === 1 ? flip(each, 12) : each))],
  [
    "changed in its tag",
    (records: Buffer[]) => records.map((each, at) => (at === 1 ? flip(each, each.length - 1) : each)),
  ],
  ["left out", ([first, , third]: Buffer[]) => [first, third]],
  ["repeated", ([first]: Buffer[]) => [first, first]],
  ["put before another", ([first, second, third]: Buffer[]) => [first, third, second]],
])("a record that was %s on its way is refused", (_what, change) => {
  const pair = socketPair("tls");
  const [theirs, mine] = pair.connections;
  const { send } = ciphersOf(theirs);
  const records = [0, 1, 2].map((at) => sealRecord(send, encode(at, Buffer.alloc(20, at), at)));
  const socket = new RecordSocket(mine, allocate);
  for (const record of change(records)) writeSync(theirs.fd, record ?? Buffer.alloc(0));
  expect(socket.read()?.frames.map(({ channel }) => channel)).toEqual([0]);
  expect(() => socket.read()).toThrow(new FrameError("a record was changed on its way"));
  socket.close();
  send.close();
  pair.closeAll();
});

function flip(record: Buffer, at: number): Buffer {
  const changed = Buffer.from(record);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}
