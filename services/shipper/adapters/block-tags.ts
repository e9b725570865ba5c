/**
 * What a file's blocks were when they were sent, so that the next pass sends only those that differ: a hash for each
 * (gmac-hasher.ts), by a key that never leaves this process. Blocks are small, since a database changes pages of a few KB
 * all over a file; of a very large file they are larger, to bound what the hashes take.
 */
import { maxDataBytes } from "../../shared/core/frames/frame.ts";
import type { BlockTags } from "../core/tree-diff.ts";
import { GmacHasher } from "./gmac-hasher.ts";

/** Of all files but very large ones. */
export const leastBlockBytes = 16 * 1024;
/** So many bytes at once, from a multiple of it on, are whole blocks of any file. */
export const mostBlockBytes = maxDataBytes;
/** 4 MB of hashes; beyond 64 GB blocks are as large as can be, and it is more. */
const blocksOfFile = 2 ** 18;
/** Files below are sent again as a whole. */
const leastBytes = 4 * leastBlockBytes;
/** 64 MB of hashes. */
const mostBytes = 2 ** 40;
const mostTags = mostBytes / mostBlockBytes;

const tagBytes = 16;
const hasher = new GmacHasher();
const hash = Buffer.from(hasher.hash.buffer);
/** Of a block that was not sent as a whole. */
const unknown = Buffer.alloc(tagBytes);

/** Room for a file's tags, none known yet; undefined when it is not worth it, or too much. */
export function makeTags(fileBytes: number): BlockTags | undefined {
  if (fileBytes < leastBytes || fileBytes > mostBytes) return undefined;
  let blockBytes = leastBlockBytes;
  while (blockBytes < mostBlockBytes && fileBytes / blockBytes > blocksOfFile) blockBytes *= 2;
  return { blockBytes, tags: Buffer.alloc(Math.ceil(fileBytes / blockBytes) * tagBytes) };
}

/**
 * Room for the tags of the same file when it is sent again, as large as it is by now; blocks are as before. Of one that has
 * grown beyond measure the end stays unknown.
 */
export const tagsAnew = ({ blockBytes }: BlockTags, fileBytes: number): BlockTags => ({
  blockBytes,
  tags: Buffer.alloc(Math.min(Math.ceil(fileBytes / blockBytes), mostTags) * tagBytes),
});

/** Notes what is sent of a file from `offset` on, block by block. Parts of blocks at the begin are left unknown. */
export function noteBlocks({ blockBytes, tags }: BlockTags, bytes: Buffer, offset: number): void {
  const skipped = (blockBytes - (offset % blockBytes)) % blockBytes;
  for (let from = skipped; from < bytes.length; from += blockBytes) {
    const at = ((offset + from) / blockBytes) * tagBytes;
    if (at >= tags.length) return;
    hasher.take(bytes, from, Math.min(blockBytes, bytes.length - from));
    hash.copy(tags, at);
  }
}

/** Whether the same bytes, and no others of this block, were sent at this place; `length` of them, at `from` in `bytes`. */
export function wasSent(
  { blockBytes, tags }: BlockTags,
  bytes: Buffer,
  from: number,
  length: number,
  offset: number,
): boolean {
  if (offset % blockBytes !== 0) return false;
  const at = (offset / blockBytes) * tagBytes;
  if (at >= tags.length || tags.compare(unknown, 0, tagBytes, at, at + tagBytes) === 0) return false;
  hasher.take(bytes, from, length);
  return tags.compare(hash, 0, tagBytes, at, at + tagBytes) === 0;
}
