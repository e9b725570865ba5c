/** Which pages are known again, and that what arrives is what was there, whatever is sent in whatever order. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keptPlaces } from "../../../services/shared/core/frames/kept-pages.ts";
import { maxDataPages, pageBytes } from "../../../services/shared/core/frames/page-message.ts";
import { RepeatsPair } from "../../helpers/page-repeats.ts";

/** A page by number: all of them different, none of them zero. */
function pageOf(number: number): Buffer {
  const page = Buffer.alloc(pageBytes, (number % 255) + 1);
  for (let at = 0; at < pageBytes; at += 116) page.writeUInt32LE(Math.imul(number + 1, 0x9e37_79b1) >>> 0, at);
  return page;
}

const pagesOf = (numbers: readonly number[]): Buffer => Buffer.concat(numbers.map(pageOf));
const from = (first: number, count = maxDataPages): number[] => Array.from({ length: count }, (_, at) => first + at);

/** Carries answers; every page must arrive. Answers how many of them did not travel. */
function carryAll(pair: RepeatsPair, answers: readonly (readonly number[])[]): number {
  let equal = 0;
  for (const numbers of answers) {
    const sent = pagesOf(numbers);
    const { answer, pages } = pair.carry(sent);
    expect(pages.equals(sent)).toBe(true);
    expect(answer.frame.length).toBeLessThan((numbers.length - answer.equalPages) * pageBytes + 320);
    equal += answer.equalPages;
  }
  return equal;
}

describe("equal pages", () => {
  test("arrive as they were: any sequence of pages with repeats, and with pages that differ in one byte", () => {
    const zero = Buffer.alloc(pageBytes);
    const page = fc.oneof(
      fc.constant(zero),
      fc.nat(3).map(pageOf),
      fc.nat(1_000_000).map(pageOf),
      fc.tuple(fc.nat(3), fc.nat(pageBytes - 1)).map(([number, at]) => {
        const changed = pageOf(number);
        changed[at] = (changed[at] ?? 0) ^ 0xff;
        return changed;
      }),
      fc.double({ noNaN: true }).map((value) => {
        const pattern = Buffer.alloc(8);
        pattern.writeDoubleLE(value);
        return Buffer.alloc(pageBytes, pattern);
      }),
    );
    const answers = fc.array(fc.array(page, { minLength: 1, maxLength: maxDataPages }), { maxLength: 12 });
    fc.assert(
      fc.property(answers, (all) => {
        const pair = new RepeatsPair();
        for (const pages of all) {
          const sent = Buffer.concat(pages);
          expect(pair.carry(sent).pages.equals(sent)).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("travel twice: from the third on a page is told by its place, in the same answer too", () => {
    const pair = new RepeatsPair();
    expect(carryAll(pair, [from(7).fill(7)])).toBe(maxDataPages - 2);
    expect(carryAll(pair, [from(7).fill(7), from(100, 10).concat(7)])).toBe(maxDataPages + 1);
    // Of the answer that has nothing else, a few bytes for each page are left.
    expect(pair.carry(pagesOf(from(7).fill(7))).answer.frame.length).toBeLessThan(300);
  });

  test("that are one number of 8 bytes over and over are known again, whichever half of it differs", () => {
    const pair = new RepeatsPair();
    const numbers = [1, 2, 3, 2 ** 32, 2 ** 33, 1.5, 2.5].map((value) => {
      const pattern = Buffer.alloc(8);
      if (Number.isInteger(value)) pattern.writeBigUInt64LE(BigInt(value));
      else pattern.writeDoubleLE(value);
      return Buffer.alloc(pageBytes, pattern);
    });
    const sent = Buffer.concat(numbers);
    const equal = from(0, 3).map(() => {
      const { answer, pages } = pair.carry(sent);
      expect(pages.equals(sent)).toBe(true);
      return answer.equalPages;
    });
    expect(equal).toEqual([0, 0, numbers.length]);
  });

  test("are found among more pages than are kept, and those that gave way are sent", () => {
    const pair = new RepeatsPair();
    const distinct = keptPlaces + 512;
    const sweep = Array.from({ length: distinct / 32 }, (_, at) => from(at * 32, 32));
    // What is met in each answer has it go on looking.
    const always = from(1_000_000).fill(1_000_000).slice(32);
    const answers = sweep.map((numbers) => [...numbers, ...always]);
    const equal = carryAll(pair, [...answers, ...answers]) - 2 * answers.length * always.length;
    expect(equal).toBeLessThanOrEqual(0);
    // By now the last that were met are kept.
    const last = answers.slice(-10);
    expect(carryAll(pair, last)).toBeGreaterThan(0.9 * last.length * maxDataPages);
    const rest = carryAll(pair, [...answers, ...answers]) - 2 * answers.length * always.length;
    expect(rest).toBeLessThan(2 * distinct);
  });

  test("that are met all the time do not give way to others", () => {
    const pair = new RepeatsPair();
    const popular = from(1_000_000, 8);
    carryAll(pair, [popular, popular]);
    let [met, equal] = [0, 0];
    for (let at = 0; at < 100; at++) {
      const others = from(at * 56, 56);
      const { answer } = pair.carry(pagesOf([...others, ...popular]));
      pair.carry(pagesOf(others));
      met += popular.length;
      equal += answer.equalPages;
    }
    expect(equal).toBeGreaterThan(0.95 * met);
  });

  test("of two that look alike, the one that is met more often is kept in the end", () => {
    const pair = new RepeatsPair();
    const [rare, common] = [pageOf(5), pageOf(5)];
    common[pageBytes - 1] = 0x55;
    rare[pageBytes - 1] = 0xaa;
    pair.carry(Buffer.concat([rare, rare]));
    for (let at = 0; at < 9; at++) expect(pair.carry(common).answer.equalPages).toBe(0);
    const { answer, pages } = pair.carry(Buffer.concat([common, rare]));
    expect(answer.equalPages).toBe(1);
    expect(pages.equals(Buffer.concat([common, rare]))).toBe(true);
  });

  test("are looked for less where there are none, and again once there are", () => {
    const pair = new RepeatsPair();
    const barren = Array.from({ length: 80 }, (_, at) => from(at * maxDataPages));
    expect(carryAll(pair, barren)).toBe(0);
    const alike = Array.from({ length: 24 }, () => from(7).fill(7));
    const equal = alike.map((answer) => carryAll(pair, [answer]));
    const first = equal.findIndex((count) => count > 0);
    expect(first).toBeLessThan(8);
    expect(equal.slice(first + 1).every((count) => count === maxDataPages)).toBe(true);
  });

  test("are found soon after many that are not, though they come so far apart that few meet in what is looked at", () => {
    const pair = new RepeatsPair();
    carryAll(
      pair,
      Array.from({ length: 80 }, (_, at) => from(at * maxDataPages)),
    );
    const answers = Array.from({ length: 192 }, (_, at) =>
      from(at * maxDataPages).map((number) => 1_000_000 + (number % 200)),
    );
    expect(carryAll(pair, answers)).toBeGreaterThan(0.82 * answers.length * maxDataPages);
  });
});
