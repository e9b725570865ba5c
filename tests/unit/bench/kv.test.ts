import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { keyOf, valueBytes, versionOf, wires, writeValue } from "../../helpers/bench/kv/protocol.ts";
import { protocolOf } from "../../helpers/bench/probe/protocols.ts";

const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const index = fc.integer({ min: 0, max: 9_999_999 });

const valueOf = (salt: number, at: number, version: number): Buffer => {
  const value = Buffer.alloc(valueBytes);
  writeValue(value, 0, salt, at, version);
  return value;
};

describe("values", () => {
  it("tell their version, and any change in them is noticed", () => {
    fc.assert(
      fc.property(uint32, index, uint32, fc.integer({ min: 8, max: valueBytes - 1 }), (salt, at, version, offset) => {
        const value = valueOf(salt, at, version);
        expect(versionOf(value, salt, at)).toBe(version);
        expect(versionOf(value, salt, at + 1)).toBeUndefined();
        value[offset] = (value[offset] ?? 0) ^ 1;
        expect(versionOf(value, salt, at)).toBeUndefined();
      }),
    );
  });

  it("do not compress, also not among each other", () => {
    const all = Buffer.concat(Array.from({ length: 200 }, (_, at) => valueOf(1, at, 0)));
    expect(deflateRawSync(all).length).toBeGreaterThan(all.length * 0.98);
  });
});

describe.each(["redis", "memcached"] as const)("the answers of %s", (kind) => {
  const value = valueOf(5, 3, 0);
  const answer =
    kind === "redis"
      ? Buffer.concat([Buffer.from(`$${valueBytes}\r\n`), value, Buffer.from("\r\n")])
      : Buffer.concat([Buffer.from(`VALUE ${keyOf(3)} 0 ${valueBytes}\r\n`), value, Buffer.from("\r\nEND\r\n")]);

  it("are read at every length, and only when complete", () => {
    for (let length = 0; length < answer.length; length++)
      expect(wires[kind].parseValue(answer.subarray(0, length), 0)).toBeUndefined();
    const twice = Buffer.concat([answer, answer]);
    const first = wires[kind].parseValue(twice, 0);
    expect(first).toEqual({ value, end: answer.length });
    expect(wires[kind].parseValue(twice, answer.length)?.end).toBe(twice.length);
  });

  it("may say that a key is missing", () => {
    const missing = Buffer.from(kind === "redis" ? "$-1\r\n" : "END\r\n");
    expect(wires[kind].parseValue(missing, 0)).toEqual({ value: undefined, end: missing.length });
  });

  it("count for a probe only with a value in them", () => {
    const { isAnswer } = protocolOf(kind, 10);
    expect(isAnswer(answer)).toBe(true);
    expect(isAnswer(answer.subarray(0, -1))).toBe(false);
    expect(isAnswer(Buffer.from(kind === "redis" ? "$-1\r\n" : "END\r\n"))).toBe(false);
  });
});

describe("PostgreSQL's probe", () => {
  it("is answered when the server waits for the next query", () => {
    const { isAnswer, hello } = protocolOf("postgres", 0);
    expect(hello.readUInt32BE(0)).toBe(hello.length);
    expect(isAnswer(Buffer.from("R\0\0\0\x08\0\0\0\0", "latin1"))).toBe(false);
    expect(isAnswer(Buffer.from("R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", "latin1"))).toBe(true);
  });
});
