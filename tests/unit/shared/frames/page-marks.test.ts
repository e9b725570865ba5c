import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameError } from "../../../../services/shared/core/frames/frame.ts";
import {
  marksBytes,
  readMarks,
  writeMarks,
  type MarkedPage,
} from "../../../../services/shared/core/frames/page-marks.ts";

const bytesOf = (marks: readonly MarkedPage[]): Buffer => {
  const bytes = Buffer.alloc(marksBytes(marks.length));
  expect(writeMarks(bytes, 0, marks)).toBe(bytes.length);
  return bytes;
};

test("marks have the layout that their module's header says", () => {
  const marks: MarkedPage[] = [
    { page: 3, kind: "keep", place: 258 },
    { page: 63, kind: "equal", place: 2047 },
  ];
  const bytes = Buffer.from("0200" + "03010201" + "3f02ff07", "hex");
  expect(bytesOf(marks)).toEqual(bytes);
  expect(readMarks(bytes, 0, 64)).toEqual(marks);
});

test("come back as they were, wherever they stand", () => {
  const mark = fc.record({
    page: fc.nat(63),
    kind: fc.constantFrom("keep" as const, "equal" as const),
    place: fc.nat(0xffff),
  });
  const all = fc.uniqueArray(mark, { selector: ({ page }) => page, minLength: 1 });
  fc.assert(
    fc.property(all, fc.nat(20), (unordered, offset) => {
      const marks = unordered.sort((a, b) => a.page - b.page);
      const around = Buffer.concat([Buffer.alloc(offset, 9), bytesOf(marks), Buffer.alloc(7, 9)]);
      expect(readMarks(around, offset, 64)).toEqual(marks);
    }),
  );
});

test.each([
  ["none", "0000"],
  ["more than pages", "0300" + "00010000" + "01010000" + "02010000"],
  ["of no kind", "0100" + "00000000"],
  ["of an unknown kind", "0100" + "00030000"],
  ["beyond the pages", "0100" + "02010000"],
  ["out of order", "0200" + "01010000" + "00010000"],
  ["twice for a page", "0200" + "01010000" + "01020000"],
])("are refused: %s", (_what, hex) => {
  expect(() => readMarks(Buffer.from(hex, "hex"), 0, 2)).toThrow(FrameError);
});

test("are refused when they are cut", () => {
  const bytes = bytesOf([
    { page: 0, kind: "keep", place: 1 },
    { page: 1, kind: "equal", place: 1 },
  ]);
  for (let end = 0; end < bytes.length; end++)
    expect(() => readMarks(bytes.subarray(0, end), 0, 2)).toThrow(FrameError);
});
