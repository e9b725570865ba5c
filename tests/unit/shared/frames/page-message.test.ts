import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameError, frameHeaderBytes } from "../../../../services/shared/core/frames/frame.ts";
import {
  bufferBytesOf,
  decodePageRequest,
  decodePages,
  decodeSpans,
  encodePageRequest,
  encodePages,
  encodeZeroPages,
  isZeroPage,
  maxDataPages,
  maxZeroPages,
  pageBytes,
  pageDataOffset,
  pageFlags,
} from "../../../../services/shared/core/frames/page-message.ts";

const payloadOf = (frame: Buffer): Buffer => frame.subarray(frameHeaderBytes);

/** Pages of which the given ones are zero, as they are in memory. */
function memory(zero: readonly boolean[]): Buffer {
  const bytes = Buffer.alloc(zero.length * pageBytes);
  zero.forEach((isZero, page) => {
    // The last byte alone tells the page from a zero one: the check must look at all of it.
    if (!isZero) bytes[(page + 1) * pageBytes - 1] = page + 1;
  });
  return bytes;
}

function answer(pages: Buffer): ReturnType<typeof encodePages> {
  const buffer = Buffer.alloc(bufferBytesOf(pages.length / pageBytes));
  pages.copy(buffer, pageDataOffset);
  return encodePages(buffer, pages.length / pageBytes);
}

describe("a page request", () => {
  test("has the layout that its module's header says", () => {
    const request = { pid: 258, vaddr: 0x7f0000001000n, pages: 3, priority: 2, known: true, dense: true } as const;
    const bytes = Buffer.from("00100000007f0000" + "02010000" + "03000000" + "0201010000000000", "hex");
    expect(payloadOf(encodePageRequest(request))).toEqual(bytes);
    expect(decodePageRequest(bytes)).toEqual(request);
  });

  test.each([
    ["no page", { pages: 0 }],
    ["an address within a page", { vaddr: 1n }],
    ["an address no memory has", { vaddr: 1n << 63n }],
    ["a priority of files", { priority: 4 as 3 }],
  ])("is refused: %s", (_what, change) => {
    const frame = encodePageRequest({
      pid: 1,
      vaddr: 0n,
      pages: 1,
      priority: 0,
      known: false,
      dense: false,
      ...change,
    });
    expect(() => decodePageRequest(payloadOf(frame))).toThrow(FrameError);
  });
  test("is refused when it is cut", () => {
    const bytes = payloadOf(
      encodePageRequest({ pid: 1, vaddr: 0n, pages: 1, priority: 0, known: false, dense: false }),
    );
    for (let end = 0; end < bytes.length; end++)
      expect(() => decodePageRequest(bytes.subarray(0, end))).toThrow(FrameError);
  });
});

describe("an answer", () => {
  test("carries any mixture of zero and other pages, the zero ones as bits", () => {
    const zeros = fc.array(fc.boolean(), { minLength: 1, maxLength: maxDataPages });
    fc.assert(
      fc.property(zeros, (zero) => {
        const pages = memory(zero);
        const { frame, flags, zeroPages } = answer(pages);
        const count = zero.filter(Boolean).length;
        expect(zeroPages).toBe(count);
        expect(frame.length).toBeLessThan((zero.length - count) * pageBytes + 64);
        const { pages: got, data } = decodePages(payloadOf(frame), flags);
        expect(got).toBe(zero.length);
        if (count === zero.length) expect(data).toBeNull();
        else expect(data?.equals(pages)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test("leaves out what is known, and the rest stands where its spans say", () => {
    const kinds = fc.array(fc.constantFrom("zero" as const, "same" as const, "sent" as const), {
      minLength: 1,
      maxLength: maxDataPages,
    });
    fc.assert(
      fc.property(kinds, (kind) => {
        const pages = memory(kind.map((what) => what === "zero"));
        const buffer = Buffer.alloc(bufferBytesOf(kind.length));
        pages.copy(buffer, pageDataOffset);
        const { frame, flags } = encodePages(
          buffer,
          kind.length,
          kind.map((what) => what === "same"),
        );
        const { pages: got, spans } = decodeSpans(payloadOf(frame), flags);
        expect(got).toBe(kind.length);
        const found = spans.flatMap(({ first, pages: count, at }) =>
          Array.from({ length: count }, (_, index) => {
            if (typeof at !== "number") return at;
            const from = at + index * pageBytes;
            const page = (first + index) * pageBytes;
            return payloadOf(frame)
              .subarray(from, from + pageBytes)
              .equals(pages.subarray(page, page + pageBytes))
              ? "sent"
              : "wrong";
          }),
        );
        expect(found).toEqual(kind);
      }),
      { numRuns: 50 },
    );
  });

  test("of zero pages is four bytes, however many they are", () => {
    const { frame, flags } = encodeZeroPages(maxZeroPages);
    expect(payloadOf(frame)).toEqual(Buffer.from([0, 0x10, 0, 0]));
    expect(decodePages(payloadOf(frame), flags)).toEqual({ pages: maxZeroPages, data: null });
  });

  test("whose length, bitmap and count differ is refused", () => {
    const { frame, flags } = answer(memory([true, false, false]));
    const payload = payloadOf(frame);
    expect(flags).toBe(pageFlags.someZero);
    for (const end of [0, 3, 4, 5, 100, payload.length - 1])
      expect(() => decodePages(payload.subarray(0, end), flags)).toThrow(FrameError);
    expect(() => decodePages(Buffer.concat([payload, Buffer.alloc(1)]), flags)).toThrow(FrameError);
    expect(() => decodePages(payload, 0)).toThrow(FrameError);
    expect(() => decodePages(payload, 4)).toThrow(FrameError);
    expect(() => decodePages(Buffer.from([0, 0, 0, 0]), pageFlags.allZero)).toThrow(FrameError);
    expect(() => decodePages(Buffer.from([0, 0, 0, 1]), 0)).toThrow(FrameError);
  });
});

test("an answer's contents are found where the memory around its payload begins", () => {
  const { frame, flags } = answer(memory([false, true, false]));
  const { spans } = decodeSpans(payloadOf(frame), flags);
  const moved = spans.map(({ first, pages, at }) => ({ first, pages, at: typeof at === "number" ? at + 20 : at }));
  expect(decodeSpans(payloadOf(frame), flags, 20).spans).toEqual(moved);
  expect(spans).toHaveLength(3);
});

test("a page is zero only if every byte is", () => {
  const page = Buffer.alloc(2 * pageBytes);
  expect(isZeroPage(page, pageBytes)).toBe(true);
  for (let at = 0; at < pageBytes; at++) {
    page[pageBytes + at] = 1;
    expect(isZeroPage(page, pageBytes)).toBe(false);
    page[pageBytes + at] = 0;
  }
});
