import { describe, expect, test } from "vitest";
import { CompressionChoice } from "../../../services/shipper/core/compression-choice.ts";

const MB = 1e6;
/** Megabytes per second as bytes and milliseconds. */
const carried = (megabytesPerSecond: number, compressed = false) =>
  [megabytesPerSecond * MB, 1000, compressed] as const;
const zstd = (megabytesPerSecond: number, ratio: number) => ({
  bytesIn: megabytesPerSecond * MB,
  bytesOut: ratio * megabytesPerSecond * MB,
  ms: 1000,
});

describe("small files wait for the link", () => {
  const rates = (megabytesPerSecond: number): CompressionChoice => {
    const choice = new CompressionChoice(false);
    choice.noteMeasured(megabytesPerSecond * 1_000);
    return choice;
  };
  const least = (choice: CompressionChoice): number => {
    let bytes = 1;
    while (bytes <= 131_072 && !choice.linkHoldsUp(bytes)) bytes++;
    return bytes;
  };

  test("of no size, while the link's speed is not known, or where it is fast", () => {
    expect(new CompressionChoice(true).linkHoldsUp(131_072)).toBe(false);
    for (const fast of [129, 400, 2_000]) expect(rates(fast).linkHoldsUp(131_072)).toBe(false);
  });

  test("the larger ones, the faster the link is", () => {
    expect([1, 12.5, 119, 128].map((rate) => least(rates(rate)))).toEqual([30, 375, 3_570, 3_840]);
  });

  test("the less, the more compression helps", () => {
    const choice = rates(12.5);
    choice.noteCompressed(zstd(400, 0.25));
    expect(least(choice)).toBe(1_500);
    choice.noteMeasured(119_000);
    // As many as a link of 476 MB/s would carry: what zstd does is no part of that.
    choice.noteCompressed(zstd(4_000, 0.25));
    expect(choice.linkHoldsUp(131_072)).toBe(false);
  });

  test("not where it was found that processors are what everything waits for", () => {
    const choice = rates(12.5);
    choice.noteCompressed(zstd(400, 0.3));
    choice.noteLink(3 * MB, 1000, true, 13 * MB);
    expect(choice.linkHoldsUp(131_072)).toBe(false);
  });
});

describe("compression", () => {
  test.each([true, false])("is as planned (%s) until something was measured", (planned) => {
    expect(new CompressionChoice(planned).next(true)).toBe(planned);
  });

  test("is tried once the link holds things up, and kept where it helps", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(12));
    expect(choice.next(true)).toBe(true);
    choice.noteCompressed(zstd(300, 0.3));
    expect(choice.next(true)).toBe(true);
    expect(choice.next(false)).toBe(true);
  });

  test.each([
    ["the link outruns zstd", 900, 400, 0.3, 1],
    ["the data does not shrink", 12, 400, 1, 16],
  ])("is left off where %s, whatever was planned", (_why, link, speed, ratio, tries) => {
    const choice = new CompressionChoice(true);
    choice.noteLink(...carried(link));
    for (let at = 0; at < 8; at++) choice.noteCompressed(zstd(speed, ratio));
    const chosen = Array.from({ length: 1024 }, () => choice.next(true));
    // Now and then a frame is tried, in case the data has changed.
    expect(chosen.filter(Boolean).length).toBe(tries);
  });

  test("is left off where a fast link carries little for a while: it is a processor that is slow then", () => {
    const choice = new CompressionChoice(false);
    choice.noteMeasured(900 * 1_000);
    choice.noteCompressed(zstd(500, 0.3));
    const chosen = Array.from({ length: 20 }, () => {
      choice.noteLink(...carried(150));
      return choice.next(true);
    });
    expect(chosen.filter(Boolean)).toEqual([]);
  });

  test("is tried again soon where a single try was slow: a processor was busy", () => {
    const choice = new CompressionChoice(false);
    choice.noteMeasured(12 * 1_000);
    expect(choice.next(true)).toBe(true);
    choice.noteCompressed(zstd(10, 0.5));
    const tries = Array.from({ length: 64 }, () => choice.next(true));
    expect(tries.filter(Boolean).length).toBe(1);
    choice.noteCompressed(zstd(300, 0.5));
    expect(choice.next(true)).toBe(true);
  });

  test("goes by the last measurement, not by the fastest", () => {
    const choice = new CompressionChoice(true);
    choice.noteMeasured(900 * 1_000);
    choice.noteCompressed(zstd(400, 0.3));
    expect(choice.next(true)).toBe(false);
    choice.noteMeasured(6 * 1_000);
    expect(choice.next(true)).toBe(true);
  });

  test("begins once a link that was fast has been slow for some seconds", () => {
    const choice = new CompressionChoice(false);
    choice.noteMeasured(900 * 1_000);
    choice.noteCompressed(zstd(500, 0.3));
    let measurements = 0;
    for (; measurements < 400 && !(choice.next(true) && choice.next(true)); measurements++)
      choice.noteLink(...carried(12));
    // Each is of 50 ms at least.
    expect(measurements).toBeGreaterThan(20);
    expect(measurements).toBeLessThan(200);
  });

  test("comes back when the data has become compressible", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(12));
    choice.noteCompressed(zstd(400, 1));
    let frames = 0;
    for (; frames < 1_000 && !(choice.next(true) && choice.next(true)); frames++) choice.noteCompressed(zstd(400, 0.2));
    expect(frames).toBeLessThan(1_000);
  });

  test("ends where zstd turns out slower than the link was before it began", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(200));
    choice.noteCompressed(zstd(500, 0.1));
    expect(choice.next(true)).toBe(true);
    // The processor is wanted elsewhere: zstd slows down, and so do the few bytes that it lets onto the link.
    for (let i = 0; i < 20; i++) {
      choice.noteCompressed(zstd(100, 0.1));
      choice.noteLink(...carried(10, true));
    }
    expect(choice.next(true)).toBe(false);
  });

  test("ends where the link carries more than was known, compressed or not", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(12));
    choice.noteCompressed(zstd(400, 0.5));
    expect(choice.next(true)).toBe(true);
    for (let i = 0; i < 20; i++) choice.noteLink(...carried(800, true));
    expect(choice.next(true)).toBe(false);
  });

  test("ends where the link was slow only for a while, as when processors were busy", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(60));
    choice.noteCompressed(zstd(200, 0.1));
    let frames = 0;
    // While it compresses it hears of nothing but what zstd lets onto the link.
    for (; choice.next(true) && frames < 1_000; frames++) choice.noteLink(...carried(20, true));
    expect(frames).toBeLessThan(1_000);
    choice.noteLink(...carried(400));
    expect(Array.from({ length: 32 }, () => choice.next(true))).not.toContain(true);
  });

  test("goes on where the link is as slow as it was, and looks less and less often", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(12));
    choice.noteCompressed(zstd(300, 0.3));
    const looks = Array.from({ length: 4_000 }, () => {
      const isPlain = !choice.next(true);
      if (isPlain) choice.noteLink(...carried(12));
      return isPlain;
    }).filter(Boolean).length;
    expect(looks).toBeGreaterThan(3);
    expect(looks).toBeLessThan(10);
  });

  test("ends where less arrives with it than without, and is tried again later", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(150));
    choice.noteCompressed(zstd(250, 0.1));
    expect(choice.next(true)).toBe(true);
    // Both ends have too little processor for all of it: the link is not what is waited for.
    choice.noteLink(10 * MB, 1000, true, 100 * MB);
    const chosen = Array.from({ length: 900 }, () => choice.next(true));
    expect(chosen.filter(Boolean).length).toBeLessThan(20);
    expect(Array.from({ length: 200 }, () => choice.next(true)).filter(Boolean).length).toBeGreaterThan(60);
  });

  test("goes on where more arrives with it, however slow zstd is", () => {
    const choice = new CompressionChoice(false);
    choice.noteLink(...carried(12));
    choice.noteCompressed(zstd(250, 0.1));
    choice.noteLink(10 * MB, 1000, true, 60 * MB);
    expect(choice.next(true)).toBe(true);
  });

  test("is not tried while nothing waits for the link", () => {
    const choice = new CompressionChoice(false);
    for (let i = 0; i < 200; i++) expect(choice.next(false)).toBe(false);
  });
});
