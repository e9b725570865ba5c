import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { maxOriginPathBytes, maxOrigins } from "../../../services/shared/core/frames/job-message.ts";
import { drawSamples, fingerprintOf, SentBlocks, type SentFile } from "../../../services/shipper/core/sent-blocks.ts";

const file = (pathBytes = 1): Omit<SentFile, "number"> => ({
  tree: 0,
  path: Buffer.alloc(pathBytes, "p"),
  identity: "i",
  signature: "s",
});

function added(sent: SentBlocks): SentFile {
  const each = sent.add(file());
  if (each === undefined) throw new Error("no number");
  return each;
}

test("a block is found where the first one of its fingerprint was sent", () => {
  const sent = new SentBlocks();
  const [first, second] = [added(sent), added(sent)];
  expect([first.number, second.number]).toEqual([0, 1]);
  expect(sent.find(7)).toBeUndefined();
  sent.note(7, { file: first, from: 0 });
  sent.note(7, { file: second, from: 5 });
  sent.note(8, { file: second, from: 100 });
  expect(sent.find(7)).toEqual({ file: first, from: 0 });
  expect(sent.find(8)).toEqual({ file: second, from: 100 });
});

test("nothing is found of what was sent before a file was replaced", () => {
  const sent = new SentBlocks();
  sent.note(7, { file: added(sent), from: 0 });
  sent.forget();
  expect(sent.find(7)).toBeUndefined();
  expect(added(sent).number).toBe(1);
});

test("files get numbers only as long as the other side remembers them", () => {
  const many = new SentBlocks();
  for (let number = 0; number < maxOrigins; number++) expect(many.add(file())?.number).toBe(number);
  expect(many.add(file())).toBeUndefined();
  const long = new SentBlocks();
  for (let number = 0; number < maxOriginPathBytes / 4096; number++) expect(long.add(file(4096))?.number).toBe(number);
  expect(long.add(file())).toBeUndefined();
});

test("blocks are remembered up to a bound, and those that are remembered are still found", () => {
  const sent = new SentBlocks();
  const origin = added(sent);
  for (let i = 0; i < 128 * 1024; i++) sent.note(i, { file: origin, from: i });
  sent.note(-1, { file: origin, from: 1 });
  expect(sent.find(-1)).toBeUndefined();
  expect(sent.add(file())).toBeUndefined();
  expect(sent.find(77)).toEqual({ file: origin, from: 77 });
});

test("fingerprints that mislead again and again are not looked at any more", () => {
  const sent = new SentBlocks();
  sent.note(7, { file: added(sent), from: 0 });
  for (let i = 0; i < 256; i++) sent.compared(false);
  expect(sent.find(7)).toBeDefined();
  sent.compared(true);
  sent.compared(false);
  expect(sent.find(7)).toBeDefined();
  sent.compared(false);
  expect(sent.find(7)).toBeUndefined();
});

test("a fingerprint is the same for the same bytes, and another one for others, however long they are", () => {
  const places = drawSamples(Math.random);
  const seen = new Set<number>();
  for (let i = 0; i < 2_000; i++) {
    const block = randomBytes(100 + i);
    const fingerprint = fingerprintOf(block, places);
    expect(fingerprintOf(Buffer.from(block), places)).toBe(fingerprint);
    expect(Number.isSafeInteger(fingerprint)).toBe(true);
    seen.add(fingerprint);
  }
  expect(seen.size).toBe(2_000);
  expect(fingerprintOf(Buffer.alloc(100), places)).not.toBe(fingerprintOf(Buffer.alloc(101), places));
});
