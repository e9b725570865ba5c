import protobuf from "protobufjs";
import { describe, expect, it } from "vitest";
import { decodeDumpAnswer, encodeDumpRequest } from "../../../services/dumper/core/criu-rpc.ts";

/** Every field of a message by its number: varints as numbers, the rest as bytes. */
function fields(message: Uint8Array): Map<number, (number | Uint8Array)[]> {
  const reader = protobuf.Reader.create(message);
  const found = new Map<number, (number | Uint8Array)[]>();
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const value = (tag & 7) === 2 ? reader.bytes() : reader.int32();
    found.set(tag >>> 3, [...(found.get(tag >>> 3) ?? []), value]);
  }
  return found;
}
const text = (value: number | Uint8Array | undefined): string => Buffer.from(value as Uint8Array).toString();

describe("CRIU's RPC", () => {
  it("asks for a dump that leaves the memory where it is and the container as it was", () => {
    const request = fields(
      encodeDumpRequest({
        imagesDir: "/i",
        workDirFd: 7,
        pid: 42,
        rootfs: "/r",
        freezerDir: "/f",
        externalMounts: [{ mountPoint: "/proc/keys", name: "/dev/null" }],
        externalNamespaces: ["net[1]:extRootNetNS"],
        configFile: "/c",
      }),
    );
    expect(request.get(1)).toEqual([1]);
    const opts = fields(request.get(2)?.[0] as Uint8Array);
    // By the numbers of CRIU's rpc.proto.
    const numbers = { 1: -1, 2: 42, 3: 1, 5: 1, 8: 1, 17: 7, 24: 1, 38: 0x40000000, 46: 1, 48: 1, 50: 1, 64: 3 };
    for (const [field, value] of Object.entries(numbers))
      expect([field, opts.get(Number(field))]).toEqual([field, [value]]);
    const texts = { 13: "/r", 37: "net[1]:extRootNetNS", 44: "/f", 51: "/c", 68: "/i" };
    for (const [field, value] of Object.entries(texts)) expect(text(opts.get(Number(field))?.[0])).toBe(value);
    const mount = fields(opts.get(23)?.[0] as Uint8Array);
    expect([text(mount.get(1)?.[0]), text(mount.get(2)?.[0])]).toEqual(["/proc/keys", "/dev/null"]);
  });

  it("reads the answer", () => {
    const answer = protobuf.Writer.create().uint32(8).int32(1).uint32(16).bool(false).uint32(56).int32(3);
    answer.uint32((9 << 3) | 2).string("no such process");
    expect(decodeDumpAnswer(answer.finish())).toMatchObject({ success: false, errno: 3, message: "no such process" });
  });

  it("refuses the answer to something else", () => {
    expect(() => decodeDumpAnswer(protobuf.Writer.create().uint32(8).int32(9).uint32(16).bool(true).finish())).toThrow(
      "type 9",
    );
  });
});
