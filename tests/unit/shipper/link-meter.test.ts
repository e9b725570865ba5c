import { expect, test } from "vitest";
import type { CompressionChoice } from "../../../services/shipper/core/compression-choice.ts";
import { LinkMeter } from "../../../services/shipper/core/link-meter.ts";

/** Bytes that went as they were. */
const plain = (bytes: number) => ({ bytes, unpackedBytes: 0, plainBytes: bytes });
const packed = (bytes: number, unpackedBytes: number) => ({ bytes, unpackedBytes, plainBytes: 0 });

interface Noted {
  bytes: number;
  ms: number;
  compressed: boolean;
  plainBytes: number | undefined;
}

function meter(): { meter: LinkMeter; noted: Noted[] } {
  const noted: Noted[] = [];
  const choice: Pick<CompressionChoice, "noteLink"> = {
    noteLink: (bytes, ms, compressed, plainBytes) => void noted.push({ bytes, ms, compressed, plainBytes }),
  };
  return { meter: new LinkMeter(choice as CompressionChoice), noted };
}

test("what crosses while something waits is measured over 50 ms at least", () => {
  const { meter: link, noted } = meter();
  for (let at = 0; at <= 120; at += 10) link.note(plain(1_000), true, at);
  expect(noted).toEqual([
    { bytes: 5_000, ms: 50, compressed: false, plainBytes: undefined },
    { bytes: 5_000, ms: 50, compressed: false, plainBytes: undefined },
  ]);
});

test("a pause is not the link's", () => {
  const { meter: link, noted } = meter();
  link.note(plain(1_000), false, 0);
  // After two seconds something waits again.
  link.note(plain(1_000), true, 2_000);
  link.note(plain(6_000), true, 2_060);
  expect(noted).toEqual([{ bytes: 6_000, ms: 60, compressed: false, plainBytes: undefined }]);
});

test("a time in which nothing has crossed yet goes on", () => {
  const { meter: link, noted } = meter();
  link.note(plain(0), true, 0);
  link.note(plain(0), true, 60);
  link.note(packed(2_000, 8_000), true, 100);
  expect(noted).toEqual([{ bytes: 2_000, ms: 100, compressed: true, plainBytes: 8_000 }]);
});

test("what compression brings is told only where nearly all was compressed", () => {
  const { meter: link, noted } = meter();
  link.note(plain(0), true, 0);
  link.note(packed(2_000, 8_000), true, 20);
  link.note(plain(2_000), true, 60);
  expect(noted).toEqual([{ bytes: 4_000, ms: 60, compressed: true, plainBytes: undefined }]);
});
