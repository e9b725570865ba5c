import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { allocateFrame, frameHeaderBytes } from "../../../services/shared/core/frames/frame.ts";
import { pageFlags } from "../../../services/shared/core/frames/page-message.ts";
import { unpackPayload } from "../../../services/shared/adapters/packed-pages.ts";
import { PagePacker, type PackedAnswer } from "../../../services/shipper/page-thread/page-packer.ts";

const bytes = 256 << 10;
const words = Buffer.from("what a program has in its memory, and much of it again and again; ");

function answer(kind: "random" | "text", payloadBytes = bytes): PackedAnswer & { release: number } {
  const frame = allocateFrame(payloadBytes);
  if (kind === "random") randomBytes(payloadBytes).copy(frame, frameHeaderBytes);
  else frame.fill(words, frameHeaderBytes);
  return { frame, flags: pageFlags.provisional, release: 7 };
}
const isPacked = ({ flags }: PackedAnswer): boolean => (flags & pageFlags.packed) !== 0;

test("what shrinks is packed where the plan has it so, and is itself once unpacked", () => {
  const plain = answer("text");
  const packed = new PagePacker(true).pack(plain, false);
  expect(packed).toMatchObject({ flags: pageFlags.provisional | pageFlags.packed, release: 7 });
  expect(packed.frame.length).toBeLessThan(bytes / 10);
  const [before, after] = [
    plain.frame.subarray(frameHeaderBytes),
    unpackPayload(packed.frame.subarray(frameHeaderBytes)),
  ];
  expect(after.equals(before)).toBe(true);
});

test("what does not shrink goes as it is, and is seldom tried again", () => {
  const packer = new PagePacker(true);
  const plain = answer("random");
  for (let at = 0; at < 20; at++) expect(packer.pack(plain, true)).toBe(plain);
});

test("a page by itself is left alone", () => {
  const plain = answer("text", 4096);
  expect(new PagePacker(true).pack(plain, true)).toBe(plain);
});

/** Answers, each taken by a link of so many bytes per millisecond, until one is packed; undefined when none is. */
async function firstPacked(kind: "random" | "text", bytesPerMs: number): Promise<number | undefined> {
  const packer = new PagePacker(false);
  for (let at = 0; at < 12; at++) {
    const sent = packer.pack(answer(kind), true);
    if (isPacked(sent)) return at;
    await sleep(sent.frame.length / bytesPerMs);
    packer.noteSent(sent.frame.length, true);
  }
  return undefined;
}

test("whatever was planned, it begins once the link is found to be slow", async () => {
  expect(await firstPacked("text", 4_000)).toBeGreaterThan(0);
});

test("a slow link alone does not make it begin: the data must shrink", async () => {
  expect(await firstPacked("random", 4_000)).toBeUndefined();
});
