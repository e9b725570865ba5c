/**
 * What a large file's blocks were when they were sent, so that the exact pass sends only those that differ: 16 bytes for
 * each. A tag is AES-GCM's authentication code over the block, by a key that never leaves this process: whoever chooses
 * the contents can't find two blocks of one tag but by a chance of about one in 2^114, and it takes a fraction of the time
 * of a hash that must do without a secret.
 */
import { createCipheriv, randomBytes } from "node:crypto";
import { maxDataBytes } from "../../shared/core/frames/frame.ts";

export const blockBytes = maxDataBytes;
const tagBytes = 16;
const key = randomBytes(16);
// With one nonce for all, equal tags mean equal blocks; the tags are told to nobody.
const nonce = Buffer.alloc(12);
/** Of a block that was not sent as a whole. */
const unknown = Buffer.alloc(tagBytes);

/** Files below are sent again as a whole. */
const leastBytes = 4 * blockBytes;
/** 64 MB of tags. */
const mostBytes = 2 ** 40;

/** Room for a file's tags, none known yet; undefined when it is not worth it, or too much. */
export const makeTags = (fileBytes: number): Buffer | undefined =>
  fileBytes < leastBytes || fileBytes > mostBytes
    ? undefined
    : Buffer.alloc(Math.ceil(fileBytes / blockBytes) * tagBytes);

/** Notes what is sent of a file. Parts of blocks are left unknown. */
export function noteBlock(tags: Buffer, bytes: Buffer, offset: number): void {
  const at = placeOf(offset);
  if (at === undefined || at >= tags.length) return;
  tagOf(bytes).copy(tags, at);
}

/** Whether the same bytes, and no others of this block, were sent at this place. */
export function wasSent(tags: Buffer, bytes: Buffer, offset: number): boolean {
  const at = placeOf(offset);
  if (at === undefined || at >= tags.length) return false;
  const before = tags.subarray(at, at + tagBytes);
  return !before.equals(unknown) && before.equals(tagOf(bytes));
}

const placeOf = (offset: number): number | undefined =>
  offset % blockBytes === 0 ? (offset / blockBytes) * tagBytes : undefined;

function tagOf(bytes: Buffer): Buffer {
  const cipher = createCipheriv("aes-128-gcm", key, nonce);
  cipher.setAAD(bytes);
  cipher.final();
  return cipher.getAuthTag();
}
