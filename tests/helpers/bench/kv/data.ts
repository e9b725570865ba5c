/**
 * What a store is filled with, how it is checked, and what was written to it since: for each key the newest version that was
 * acknowledged, and the newest that was sent. Shared between threads, since the load runs in one of its own.
 */
import { connect, type Socket } from "node:net";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { hasErrno } from "../../../../services/shared/errors.ts";
import type { Address } from "../probe/seek.ts";
import { keyOf, valueBytes, versionOf, wires, writeValue, type KvKind } from "./protocol.ts";

export interface KvShared {
  readonly kind: KvKind;
  readonly count: number;
  /** Makes the values of one run unlike those of any other. */
  readonly salt: number;
  readonly acknowledged: SharedArrayBuffer;
  readonly sent: SharedArrayBuffer;
}

const batch = 500;
const ioTimeoutMs = 60_000;
const connectTimeoutMs = 1_000;
const connectTries = 20;

/** @param megabytes of values, 10^6 bytes each */
export function createKvData(kind: KvKind, megabytes: number): KvShared {
  const count = Math.ceil((megabytes * 1e6) / valueBytes);
  const versions = (): SharedArrayBuffer => new SharedArrayBuffer(count * 4);
  return { kind, count, salt: randomInt(2 ** 32), acknowledged: versions(), sent: versions() };
}

/** Writes the first version of every key. Throws when an answer is not the one that was due. */
export async function fillStore(data: KvShared, address: Address): Promise<void> {
  const { stored } = wires[data.kind];
  await using socket = await open(address);
  const answers = countBytes(socket);
  for (let first = 0; first < data.count; first += batch) {
    if (!socket.write(encodeBatch(data, first))) await once(socket, "drain");
  }
  await answers(data.count * stored.length);
}

/** Reads every key; returns how many are missing, damaged, older than what was acknowledged or newer than what was sent. */
export async function countWrong(data: KvShared, address: Address): Promise<number> {
  const wire = wires[data.kind];
  const [acknowledged, sent] = [new Uint32Array(data.acknowledged), new Uint32Array(data.sent)];
  await using socket = await open(address);
  let [wrong, asked, next] = [0, 0, 0];
  let rest: Buffer = Buffer.alloc(0);
  const ask = (): void => {
    const keys = Array.from({ length: Math.min(batch, data.count - asked) }, (_, at) => wire.get(keyOf(asked + at)));
    asked += keys.length;
    socket.write(keys.join(""));
  };
  ask();
  ask();
  while (next < data.count) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let offset = 0;
    for (let answer; (answer = wire.parseValue(rest, offset)) !== undefined; offset = answer.end) {
      const version = answer.value && versionOf(answer.value, data.salt, next);
      const [least = 0, most = 0] = [acknowledged[next], sent[next]];
      if (version === undefined || version < least || version > most) wrong++;
      next++;
      if (next % batch === 0 && asked < data.count) ask();
    }
    rest = rest.subarray(offset);
  }
  return wrong;
}

function encodeBatch(data: KvShared, first: number): Buffer {
  const parts: Buffer[] = [];
  for (let index = first; index < Math.min(first + batch, data.count); index++) parts.push(encodeSet(data, index, 0));
  return Buffer.concat(parts);
}

/** The request that stores one version of a key. */
export function encodeSet({ kind, salt }: KvShared, index: number, version: number): Buffer {
  const head = wires[kind].setHead(keyOf(index));
  const request = Buffer.allocUnsafe(head.length + valueBytes + 2);
  request.write(head, 0, "latin1");
  writeValue(request, head.length, salt, index, version);
  request.write("\r\n", head.length + valueBytes, "latin1");
  return request;
}

/**
 * Tries several times, each from a port of its own: a node's connection tracking may still lead an earlier connection's port to a
 * container that is gone, whoever migrated it.
 */
async function open(address: Address): Promise<Socket> {
  for (let left = connectTries; ; left--) {
    const socket = connect({ ...address, noDelay: true, timeout: ioTimeoutMs });
    try {
      await once(socket, "connect", { signal: AbortSignal.timeout(connectTimeoutMs) });
      socket.on("timeout", () => socket.destroy(new Error(`no answer from ${address.host}:${address.port}`)));
      return socket;
    } catch (error) {
      socket.on("error", () => undefined).destroy();
      if (left === 0 || hasErrno(error, "ECONNREFUSED")) throw error;
      await sleep(100);
    }
  }
}

/** Counts what comes in; returns a wait for exactly so many bytes in all. */
function countBytes(socket: Socket): (bytes: number) => Promise<void> {
  let received = 0;
  socket.on("data", (chunk: Buffer) => (received += chunk.length));
  return async (bytes) => {
    while (received < bytes) await once(socket, "data");
    if (received > bytes) throw new Error(`${received} bytes of answers where ${bytes} were due`);
  };
}
