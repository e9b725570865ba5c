import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { blockBytes, makeTags, noteBlock, wasSent } from "../../../services/shipper/adapters/block-tags.ts";

const fileBytes = 8 * blockBytes + 10;
const tagsOf = (bytes: number): Buffer => {
  const tags = makeTags(bytes);
  if (tags === undefined) throw new Error("no tags");
  return tags;
};

test("a block is the one that was sent only if all its bytes are, at its place", () => {
  const tags = tagsOf(fileBytes);
  const block = randomBytes(blockBytes);
  noteBlock(tags, block, blockBytes);
  expect(wasSent(tags, Buffer.from(block), blockBytes)).toBe(true);
  expect(wasSent(tags, block, 2 * blockBytes)).toBe(false);
  expect(wasSent(tags, block.subarray(0, -1), blockBytes)).toBe(false);
  for (const at of [0, 77_777, blockBytes - 1]) {
    const other = Buffer.from(block);
    other.writeUInt8(other.readUInt8(at) ^ 1, at);
    expect(wasSent(tags, other, blockBytes)).toBe(false);
  }
});

test("zeros are not taken for more zeros", () => {
  const tags = tagsOf(fileBytes);
  noteBlock(tags, Buffer.alloc(100), 0);
  expect(wasSent(tags, Buffer.alloc(101), 0)).toBe(false);
  expect(wasSent(tags, Buffer.alloc(100), 0)).toBe(true);
});

test("parts of a block, and what lies beyond the file that was sent, are unknown", () => {
  const tags = tagsOf(fileBytes);
  const part = randomBytes(1000);
  noteBlock(tags, part, 5);
  expect(wasSent(tags, part, 5)).toBe(false);
  noteBlock(tags, part, 100 * blockBytes);
  expect(wasSent(tags, part, 100 * blockBytes)).toBe(false);
});

test("small files, and those beyond all measure, are not noted", () => {
  expect(makeTags(blockBytes)).toBeUndefined();
  expect(makeTags(2 ** 41)).toBeUndefined();
});
