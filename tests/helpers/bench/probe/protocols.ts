/** What a probe says to each kind of server, and when its answer is complete. Pure. */
import { keyOf, valueBytes } from "../kv/protocol.ts";

export interface Protocol {
  /** The first bytes on a new connection; its answer proves that somebody serves there. */
  readonly hello: Buffer;
  /** The probe with this number. */
  readonly request: (number: number) => Buffer;
  /** Whether these bytes are a whole answer. */
  readonly isAnswer: (received: Buffer) => boolean;
}

export type ProtocolName = "redis" | "memcached" | "postgres" | "line";

/** @param keys how many keys the store was filled with */
export function protocolOf(name: ProtocolName, keys: number): Protocol {
  // A step that has no common divisor with most counts goes through all keys, in no order that memory has.
  const keyFor = (number: number): string => keyOf((number * 7_368_787) % Math.max(1, keys));
  switch (name) {
    case "redis": {
      const request = (number: number): Buffer => Buffer.from(`*2\r\n$3\r\nGET\r\n$11\r\n${keyFor(number)}\r\n`);
      const head = Buffer.from(`$${valueBytes}\r\n`);
      return {
        hello: request(0),
        request,
        isAnswer: (got) => got.length === head.length + valueBytes + 2 && got.subarray(0, head.length).equals(head),
      };
    }
    case "memcached": {
      const request = (number: number): Buffer => Buffer.from(`get ${keyFor(number)}\r\n`);
      return {
        hello: request(0),
        request,
        isAnswer: (got) => got.length > valueBytes && got.subarray(-5).toString() === "END\r\n",
      };
    }
    case "postgres":
      return {
        hello: startupMessage({ user: "postgres", database: "postgres" }),
        request: () => query,
        isAnswer: endsReady,
      };
    case "line": {
      const request = Buffer.from("ping\n");
      return { hello: request, request: () => request, isAnswer: (got) => got.at(-1) === 10 };
    }
  }
}

function startupMessage(parameters: Readonly<Record<string, string>>): Buffer {
  const text = Object.entries(parameters).flat().join("\0");
  const body = Buffer.from(`\0\x03\0\0${text}\0\0`, "latin1");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([length, body]);
}

const query = Buffer.from("Q\0\0\0\x0dSELECT 1\0", "latin1");

/** PostgreSQL says `Z`, length 5 and a status when it waits for the next query. */
const endsReady = (got: Buffer): boolean =>
  got.length >= 6 && got.readUInt8(got.length - 6) === 0x5a && got.readUInt32BE(got.length - 5) === 5;
