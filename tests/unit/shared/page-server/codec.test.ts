import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodePagesHeader,
  encodeRequest,
  encodeStatus,
  PageProtocolError,
  RequestDecoder,
  type PageRequest,
} from "../../../../services/shared/core/page-server/codec.ts";
import { isAtLeast, layoutOf, parseCriuVersion } from "../../../../services/shared/core/page-server/layout.ts";

/** GET of 3 pages at 0x7f0012345000 for pid 42, written out by hand. */
const wideGet = Buffer.from(
  "07000000" + "deadbeef" + "0300000000000000" + "00503412007f0000" + "2a00000000000000",
  "hex",
);
const compactGet = Buffer.from("07000000" + "03000000" + "00503412007f0000" + "2a00000000000000", "hex");
const get: PageRequest = { kind: "get", pid: 42, vaddr: 0x7f0012345000n, pages: 3 };

const requests = fc.oneof(
  fc.record({
    kind: fc.constant("get" as const),
    pid: fc.integer({ min: 1, max: 0x7fffffff }),
    vaddr: fc.bigInt({ min: 0n, max: (1n << 44n) - 1n }).map((page) => page * 4096n),
    pages: fc.integer({ min: 1, max: 1024 }),
  }),
  fc.constant<PageRequest>({ kind: "close" }),
);

describe.each([
  ["wide", wideGet],
  ["compact", compactGet],
] as const)("page-server codec, %s layout", (layout, bytes) => {
  test("reads a request written by hand, whatever is in the padding", () => {
    expect(new RequestDecoder(layout).push(bytes)).toEqual([get]);
  });

  test("reads a request cut at every offset", () => {
    for (let at = 0; at <= bytes.length; at += 1) {
      const decoder = new RequestDecoder(layout);
      expect([...decoder.push(bytes.subarray(0, at)), ...decoder.push(bytes.subarray(at))]).toEqual([get]);
      expect(decoder.atBoundary).toBe(true);
    }
  });

  test("gives back what was encoded, however the stream is cut", () => {
    fc.assert(
      fc.property(fc.array(requests), fc.array(fc.integer({ min: 1, max: 50 })), (sent, cuts) => {
        const stream = Buffer.concat(sent.map((request) => encodeRequest(layout, request)));
        const decoder = new RequestDecoder(layout);
        const got: PageRequest[] = [];
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          got.push(...decoder.push(stream.subarray(at, at + cut)));
          at += cut;
        }
        expect(got).toEqual(sent);
      }),
    );
  });

  test("knows CLOSE and FORCE_CLOSE", () => {
    for (const word of ["23100000", "24100000"]) {
      const close = Buffer.concat([Buffer.from(word, "hex"), Buffer.alloc(bytes.length - 4)]);
      expect(new RequestDecoder(layout).push(close)).toEqual([{ kind: "close" }]);
    }
  });

  test("refuses what CRIU never asks", () => {
    const changed = (at: number, value: Buffer): Buffer => {
      const copy = Buffer.from(bytes);
      value.copy(copy, at);
      return copy;
    };
    const end = bytes.length;
    const hostile = [
      changed(0, Buffer.of(6)), // pages pushed at us
      changed(layout === "wide" ? 8 : 4, Buffer.alloc(4)), // no page
      changed(layout === "wide" ? 8 : 4, Buffer.alloc(4, 0xff)), // 16 TB
      changed(end - 16, Buffer.of(1)), // not a page's address
      changed(end - 16, Buffer.from("00f0ffffffffffff", "hex")), // kernel memory
      changed(end - 8, Buffer.alloc(8)), // pid 0
      changed(end - 8, Buffer.alloc(8, 0xff)),
    ];
    for (const request of hostile) expect(() => new RequestDecoder(layout).push(request)).toThrow(PageProtocolError);
  });

  test("survives arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        try {
          new RequestDecoder(layout).push(Buffer.from(noise));
        } catch (error) {
          expect(error).toBeInstanceOf(PageProtocolError);
        }
      }),
    );
  });
});

test("an answer's header says ADD_F with PRESENT", () => {
  expect(encodePagesHeader("wide", 42, 0x7f0012345000n, 3).toString("hex")).toBe(
    "06000400" + "00000000" + "0300000000000000" + "00503412007f0000" + "2a00000000000000",
  );
  expect(encodePagesHeader("compact", 42, 0x7f0012345000n, 3).toString("hex")).toBe(
    "06000400" + "03000000" + "00503412007f0000" + "2a00000000000000",
  );
  expect(encodeStatus(-1).toString("hex")).toBe("ffffffff");
});

test("CRIU's version decides the layout", () => {
  const version = (text: string) => parseCriuVersion(`Version: ${text}\nGitID: x\n`);
  expect(version("4.2.1")).toEqual({ major: 4, minor: 2 });
  expect(version("3.19")).toEqual({ major: 3, minor: 19 });
  expect(parseCriuVersion("bash: criu: command not found")).toBeUndefined();
  expect(layoutOf({ major: 4, minor: 1 })).toBe("compact");
  expect(layoutOf({ major: 3, minor: 19 })).toBe("compact");
  expect(layoutOf({ major: 4, minor: 2 })).toBe("wide");
  expect(layoutOf({ major: 5, minor: 0 })).toBe("wide");
  expect(isAtLeast({ major: 4, minor: 10 }, { major: 4, minor: 2 })).toBe(true);
});
