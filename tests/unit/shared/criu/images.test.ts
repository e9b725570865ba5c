import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CriuImageError, encodeImage, imageMessages } from "../../../../services/shared/core/criu/image.ts";
import {
  decodeInventory,
  decodeLazyRanges,
  decodePstree,
} from "../../../../services/shared/core/criu/process-images.ts";
import { inventoryImage, pagemapImage, pstreeImage, varintField } from "../../../helpers/criu-images.ts";

const lazy = 2;
const present = 4;

describe("CRIU's image framing", () => {
  test("gives back the messages of an image", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (messages) => {
        const image = encodeImage("files", messages);
        expect(Array.from(imageMessages("files", image), (bytes) => new Uint8Array(bytes))).toEqual(messages);
      }),
    );
  });

  test("refuses an image cut anywhere but between messages", () => {
    const image = encodeImage("pstree", [Buffer.of(1, 2, 3), Buffer.of(4)]);
    const whole = new Set([8, 15, image.length]);
    for (let end = 0; end <= image.length; end += 1) {
      const read = (): unknown => [...imageMessages("pstree", image.subarray(0, end))];
      if (whole.has(end)) expect(read).not.toThrow();
      else expect(read).toThrow(CriuImageError);
    }
  });

  test("refuses another kind of image", () => {
    expect(() => decodePstree(pagemapImage([]))).toThrow(/no pstree image/);
    expect(() => decodeInventory(Buffer.from("hello, world"))).toThrow(CriuImageError);
  });
});

test("the inventory tells the format", () => {
  expect(decodeInventory(inventoryImage(2))).toEqual({ imgVersion: 2, tcpClose: false });
  expect(() => decodeInventory(encodeImage("inventory", []))).toThrow(/empty/);
});

test("the pstree lists the processes in order", () => {
  expect(decodePstree(pstreeImage([1, 7, 300]))).toEqual([1, 7, 300].map((pid) => ({ pid, ppid: 0, threads: [pid] })));
});

describe("pagemap", () => {
  test("gives the lazy ranges only, exact up to the highest address", () => {
    const top = 2 ** 45 - 10;
    const image = pagemapImage([
      { page: 0x400, pages: 2, flags: present },
      { page: 0x500, pages: 3, flags: lazy },
      { page: 0x503, pages: 1, flags: lazy },
      { page: 0x600, pages: 1, flags: lazy | present },
      { page: top, pages: 10, flags: lazy },
    ]);
    expect(decodeLazyRanges(image)).toEqual([
      { page: 0x500, pages: 3 },
      { page: 0x503, pages: 1 },
      { page: 0x600, pages: 1 },
      { page: top, pages: 10 },
    ]);
  });

  test("reads the 32-bit count of CRIU before 4.2", () => {
    expect(decodeLazyRanges(pagemapImage([{ page: 5, pages: 9, flags: lazy, compat: true }]))).toEqual([
      { page: 5, pages: 9 },
    ]);
  });

  test("refuses overlaps, empty entries, kernel addresses, parents", () => {
    const bad = [
      [
        { page: 5, pages: 2, flags: lazy },
        { page: 6, pages: 1, flags: lazy },
      ],
      [{ page: 5, pages: 0, flags: lazy }],
      [{ page: 2 ** 45 - 1, pages: 2, flags: lazy }],
      [{ page: 5, pages: 1, flags: 1 }],
      [{ page: 5, pages: 1, inParent: true }],
    ];
    for (const entries of bad) expect(() => decodeLazyRanges(pagemapImage(entries))).toThrow(CriuImageError);
  });

  test("refuses an address inside a page, and noise", () => {
    const odd = Buffer.concat([varintField(1, 4097), varintField(2, 1)]);
    expect(() => decodeLazyRanges(encodeImage("pagemap", [varintField(1, 1), odd]))).toThrow(/not a page's/);
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 30 })), (messages) => {
        try {
          decodeLazyRanges(encodeImage("pagemap", messages));
        } catch (error) {
          expect(error).toBeInstanceOf(CriuImageError);
        }
      }),
    );
  });
});
