/**
 * Redis' and memcached's wire formats, as far as the benchmark speaks them, and the values it stores: each can be computed again
 * from its key's index and its version, so no copy of the data is kept.
 */
export type KvKind = "redis" | "memcached";

export const valueBytes = 1000;
const stampBytes = 8;

/** Always 11 characters. */
export const keyOf = (index: number): string => `key:${String(index).padStart(7, "0")}`;

/** Writes the value of a key into `target`: its index and version, then bytes that only the salt, and these, tell. */
export function writeValue(target: Buffer, offset: number, salt: number, index: number, version: number): void {
  target.writeUInt32LE(index, offset);
  target.writeUInt32LE(version, offset + 4);
  fillScratch(salt, index, version);
  scratchBytes.copy(target, offset + stampBytes);
}

/** The version of a value that is right for its key; undefined when it is not. */
export function versionOf(value: Buffer, salt: number, index: number): number | undefined {
  if (value.length !== valueBytes || value.readUInt32LE(0) !== index) return undefined;
  const version = value.readUInt32LE(4);
  fillScratch(salt, index, version);
  return value.compare(scratchBytes, 0, scratchBytes.length, stampBytes) === 0 ? version : undefined;
}

const scratch = new Uint32Array((valueBytes - stampBytes) / 4);
const scratchBytes = Buffer.from(scratch.buffer);

/** xorshift32: nothing in it repeats, so nothing that compresses finds anything. */
function fillScratch(salt: number, index: number, version: number): void {
  let state = (Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(version + 1, 0x85ebca6b) ^ salt) | 1;
  for (let at = 0; at < scratch.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    scratch[at] = state;
  }
}

interface Wire {
  /** What stands before a value's bytes in a request that stores it; "\r\n" follows them. */
  setHead(key: string): string;
  /** The answer to it. */
  readonly stored: string;
  get(key: string): string;
  /** The answer to a `get`: the value, or undefined when the key is missing; undefined when it is not complete. */
  parseValue(
    received: Buffer,
    offset: number,
  ): { readonly value: Buffer | undefined; readonly end: number } | undefined;
}

export const wires: Readonly<Record<KvKind, Wire>> = {
  redis: {
    setHead: (key) => `*3\r\n$3\r\nSET\r\n$11\r\n${key}\r\n$${valueBytes}\r\n`,
    stored: "+OK\r\n",
    get: (key) => `*2\r\n$3\r\nGET\r\n$11\r\n${key}\r\n`,
    parseValue: (received, offset) => {
      const lineEnd = received.indexOf("\r\n", offset);
      if (lineEnd < 0) return undefined;
      const length = Number(received.toString("latin1", offset + 1, lineEnd));
      if (!(length >= 0)) return { value: undefined, end: lineEnd + 2 };
      const end = lineEnd + 2 + length + 2;
      return end > received.length ? undefined : { value: received.subarray(lineEnd + 2, end - 2), end };
    },
  },
  memcached: {
    setHead: (key) => `set ${key} 0 0 ${valueBytes}\r\n`,
    stored: "STORED\r\n",
    get: (key) => `get ${key}\r\n`,
    parseValue: (received, offset) => {
      const lineEnd = received.indexOf("\r\n", offset);
      if (lineEnd < 0) return undefined;
      const words = received.toString("latin1", offset, lineEnd).split(" ");
      if (words[0] !== "VALUE") return { value: undefined, end: lineEnd + 2 };
      const valueEnd = lineEnd + 2 + Number(words[3]);
      const end = valueEnd + "\r\nEND\r\n".length;
      return end > received.length ? undefined : { value: received.subarray(lineEnd + 2, valueEnd), end };
    },
  },
};
