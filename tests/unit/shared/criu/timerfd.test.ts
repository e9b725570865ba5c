import { expect, test } from "vitest";
import { CriuImageError, encodeImage, imageMessages } from "../../../../services/shared/core/criu/image.ts";
import { mendTimerfds } from "../../../../services/shared/core/criu/timerfd.ts";
import { bytesField, filesImage, varintField } from "../../../helpers/criu-images.ts";

interface Timer {
  value: [seconds: number, nanoseconds: number];
  interval: [seconds: number, nanoseconds: number];
}

const timerMessage = ({ value, interval }: Timer): Buffer =>
  Buffer.concat([
    varintField(1, 9),
    varintField(2, 0x800),
    bytesField(3, Buffer.of(1, 2, 3)),
    varintField(4, 1),
    varintField(5, 3),
    varintField(6, 0),
    varintField(7, value[0]),
    varintField(8, value[1]),
    varintField(9, interval[0]),
    varintField(10, interval[1]),
  ]);
const timerFile = (timer: Timer): Buffer =>
  Buffer.concat([varintField(1, 17), varintField(2, 9), bytesField(12, timerMessage(timer))]);
const otherFile = Buffer.concat([varintField(1, 1), varintField(2, 4), bytesField(3, Buffer.from("/etc/passwd"))]);

/** The varints of a timerfd_entry, by field. */
function timerFields(file: Buffer): Map<number, bigint> {
  const at = file.indexOf(Buffer.of((12 << 3) | 2));
  const entry = file.subarray(at + 2);
  const fields = new Map<number, bigint>();
  for (let pos = 0; pos < entry.length;) {
    const tag = entry[pos++] ?? 0;
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(entry[pos++] ?? 0);
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) break;
    }
    fields.set(tag >> 3, value);
    if ((tag & 7) === 2) pos += Number(value);
  }
  return fields;
}

test("a periodic timer with a pending tick gets its interval as the next tick", () => {
  const image = filesImage([otherFile, timerFile({ value: [0, 0], interval: [3, 250_000_000] }), otherFile]);
  const { image: mended, mended: count } = mendTimerfds(image);
  expect(count).toBe(1);
  const messages = [...imageMessages("files", mended)];
  expect(messages[0]).toEqual(otherFile);
  expect(messages[2]).toEqual(otherFile);
  const fields = timerFields(messages[1] ?? Buffer.alloc(0));
  expect([7, 8, 9, 10].map((id) => fields.get(id))).toEqual([3n, 250_000_000n, 3n, 250_000_000n]);
  // What it was not asked to touch.
  expect([1, 2, 4, 5, 6].map((id) => fields.get(id))).toEqual([9n, 0x800n, 1n, 3n, 0n]);
  expect(mendTimerfds(mended)).toEqual({ image: mended, mended: 0 });
});

test("sound timers, disarmed timers and other files stay byte for byte", () => {
  const image = filesImage([
    otherFile,
    timerFile({ value: [0, 0], interval: [0, 0] }),
    timerFile({ value: [0, 1], interval: [1, 0] }),
    timerFile({ value: [5, 0], interval: [0, 0] }),
  ]);
  expect(mendTimerfds(image)).toEqual({ image, mended: 0 });
});

test("a broken image is refused", () => {
  expect(() => mendTimerfds(encodeImage("files", [bytesField(12, Buffer.of(0x3a, 0x7f))]))).toThrow(CriuImageError);
  expect(() => mendTimerfds(Buffer.from("no image at all"))).toThrow(CriuImageError);
});
