import { createCipheriv } from "node:crypto";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { pageBytes, pageDataOffset } from "../../../services/shared/core/frames/page-message.ts";
import { GmacHasher } from "../../../services/shipper/adapters/gmac-hasher.ts";
import { PageHashes } from "../../../services/shipper/core/page-hashes.ts";

const hasher = new GmacHasher();
afterAll(() => hasher.close());
const hashesOf = (): PageHashes => new PageHashes(hasher);
const buffer = (pages: number): Buffer => Buffer.alloc(pageDataOffset + pages * pageBytes, 7);

test("knows again exactly the pages that have not changed", () => {
  const change = fc.record({ page: fc.nat(7), byte: fc.nat(pageBytes - 1), by: fc.integer({ min: 1, max: 255 }) });
  fc.assert(
    fc.property(fc.nat(200), fc.uniqueArray(change, { selector: ({ page }) => page }), (first, changes) => {
      const hashes = hashesOf();
      const bytes = buffer(8);
      hashes.remember(1, first, 8, bytes, pageDataOffset);
      for (const { page, byte, by } of changes) {
        const at = pageDataOffset + page * pageBytes + byte;
        bytes[at] = ((bytes[at] ?? 0) + by) & 255;
      }
      const same = Array.from({ length: 8 }, (_, page) => changes.every((changed) => changed.page !== page));
      expect(hashes.compare(1, first, 8, bytes, pageDataOffset)).toEqual(same);
    }),
  );
});

test("a page that was never sent, or by another process, is not the same", () => {
  const hashes = hashesOf();
  hashes.remember(1, 10, 1, buffer(1), pageDataOffset);
  expect(hashes.compare(1, 9, 3, buffer(3), pageDataOffset)).toEqual([false, true, false]);
  expect(hashes.compare(2, 10, 1, buffer(1), pageDataOffset)).toEqual([false]);
});

test("what was sent last counts", () => {
  const hashes = hashesOf();
  const [old, now] = [buffer(1), buffer(1).fill(8, pageDataOffset)];
  hashes.remember(1, 0, 1, old, pageDataOffset);
  hashes.remember(1, 0, 1, now, pageDataOffset);
  expect(hashes.compare(1, 0, 1, old, pageDataOffset)).toEqual([false]);
  expect(hashes.compare(1, 0, 1, now, pageDataOffset)).toEqual([true]);
});

test("of pages that are zero nothing is kept, and what they were before is forgotten", () => {
  const hashes = hashesOf();
  const zeros = buffer(64).fill(0, pageDataOffset);
  const bytesBefore = process.memoryUsage().arrayBuffers;
  for (let block = 1; block <= 10_000; block++) hashes.remember(1, 64 * block, 64, zeros, pageDataOffset);
  expect(process.memoryUsage().arrayBuffers - bytesBefore).toBeLessThan(1 << 20);
  const old = buffer(2);
  hashes.remember(1, 0, 2, old, pageDataOffset);
  hashes.remember(1, 0, 1, zeros, pageDataOffset);
  expect(hashes.compare(1, 0, 2, old, pageDataOffset)).toEqual([false, true]);
});

test("the hash depends on the key and on every page's own bytes, and is AES-GMAC", () => {
  const key = Buffer.alloc(16, 3);
  const bytes = Buffer.from(Array.from({ length: 2 * pageBytes + 5 }, (_, at) => (at * 7) & 255));
  const mac = createCipheriv("aes-128-gcm", key, Buffer.alloc(12));
  mac.setAAD(bytes.subarray(5 + pageBytes));
  mac.final();
  const mine = new GmacHasher(key);
  mine.take(bytes, 5);
  mine.take(bytes, 5 + pageBytes);
  expect(Buffer.from(mine.hash.buffer)).toEqual(mac.getAuthTag());
  mine.close();
  expect(() => mine.take(bytes, 0)).toThrow("closed");
});
