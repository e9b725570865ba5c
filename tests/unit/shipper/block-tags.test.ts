import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import {
  leastBlockBytes as blockBytes,
  makeTags,
  mostBlockBytes,
  noteBlocks,
  tagsAnew,
  wasSent,
} from "../../../services/shipper/adapters/block-tags.ts";
import type { BlockTags } from "../../../services/shipper/core/tree-diff.ts";

const fileBytes = 8 * blockBytes + 10;
const tagsOf = (bytes: number): BlockTags => {
  const tags = makeTags(bytes);
  if (tags === undefined) throw new Error("no tags");
  return tags;
};
const isSame = (tags: BlockTags, block: Buffer, offset: number): boolean =>
  wasSent(tags, Buffer.concat([Buffer.alloc(7), block]), 7, block.length, offset);

test("a block is the one that was sent only if all its bytes are, at its place", () => {
  const tags = tagsOf(fileBytes);
  const block = randomBytes(blockBytes);
  noteBlocks(tags, block, blockBytes);
  expect(isSame(tags, block, blockBytes)).toBe(true);
  expect(isSame(tags, block, 2 * blockBytes)).toBe(false);
  expect(isSame(tags, block.subarray(0, -1), blockBytes)).toBe(false);
  for (const at of [0, 7_777, blockBytes - 1]) {
    const other = Buffer.from(block);
    other.writeUInt8(other.readUInt8(at) ^ 1, at);
    expect(isSame(tags, other, blockBytes)).toBe(false);
  }
});

test("several blocks are noted at once, the last as long as it is", () => {
  const tags = tagsOf(fileBytes);
  const bytes = randomBytes(2 * blockBytes + 10);
  noteBlocks(tags, bytes, 6 * blockBytes);
  expect(isSame(tags, bytes.subarray(0, blockBytes), 6 * blockBytes)).toBe(true);
  expect(isSame(tags, bytes.subarray(blockBytes, 2 * blockBytes), 7 * blockBytes)).toBe(true);
  expect(isSame(tags, bytes.subarray(2 * blockBytes), 8 * blockBytes)).toBe(true);
  expect(isSame(tags, Buffer.concat([bytes.subarray(2 * blockBytes), Buffer.alloc(1)]), 8 * blockBytes)).toBe(false);
});

test("zeros are not taken for more zeros", () => {
  const tags = tagsOf(fileBytes);
  noteBlocks(tags, Buffer.alloc(100), 0);
  expect(isSame(tags, Buffer.alloc(101), 0)).toBe(false);
  expect(isSame(tags, Buffer.alloc(100), 0)).toBe(true);
});

test("parts of a block, and what lies beyond the file that was sent, are unknown", () => {
  const tags = tagsOf(fileBytes);
  const bytes = randomBytes(2 * blockBytes);
  noteBlocks(tags, bytes, 5);
  expect(isSame(tags, bytes.subarray(0, blockBytes), 5)).toBe(false);
  expect(isSame(tags, bytes.subarray(0, blockBytes - 5), 0)).toBe(false);
  expect(isSame(tags, bytes.subarray(blockBytes - 5, 2 * blockBytes - 5), blockBytes)).toBe(true);
  noteBlocks(tags, bytes, 100 * blockBytes);
  expect(isSame(tags, bytes.subarray(0, blockBytes), 100 * blockBytes)).toBe(false);
});

test("the blocks of very large files are larger, and what is noted of them is bounded", () => {
  for (const gigabytes of [1, 4, 5, 64, 100, 1000]) {
    const { blockBytes: each, tags } = tagsOf(gigabytes * 2 ** 30);
    expect(mostBlockBytes % each).toBe(0);
    expect((tags.length / 16) * each).toBeGreaterThanOrEqual(gigabytes * 2 ** 30);
    expect(tags.length).toBeLessThanOrEqual(64 * 2 ** 20);
  }
});

test("what is noted of a file that was small when it was sent first is bounded too", () => {
  const { blockBytes: each, tags } = tagsAnew(tagsOf(fileBytes), 2 ** 50);
  expect(each).toBe(blockBytes);
  expect(tags.length).toBeLessThanOrEqual(64 * 2 ** 20);
});

test("small files, and those beyond all measure, are not noted", () => {
  expect(makeTags(blockBytes)).toBeUndefined();
  expect(makeTags(2 ** 41)).toBeUndefined();
});
