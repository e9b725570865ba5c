import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FileWrites } from "../../../services/shipper/adapters/file-writes.ts";

const write = fc.record({
  offset: fc.constantFrom(0, 100_000, 262_144, 500_000, 1_000_000),
  bytes: fc.integer({ min: 1, max: 300_000 }),
  value: fc.integer({ min: 1, max: 255 }),
  /** Where the one before ended, instead of `offset`. */
  follows: fc.boolean(),
  wait: fc.boolean(),
});

test("what is written stands in the file as if written one after the other", async () => {
  const dir = mkdtempSync(join(tmpdir(), "dmigrate-writes-"));
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(write, { maxLength: 20 }), async (steps) => {
        const path = join(dir, "file");
        const fd = openSync(path, "w");
        const writes = new FileWrites(fd);
        const wanted = Buffer.alloc(8_000_000);
        let end = 0;
        let size = 0;
        for (const { offset, bytes, value, follows, wait } of steps) {
          const from = follows ? end : offset;
          end = from + bytes;
          size = Math.max(size, end);
          wanted.fill(value, from, end);
          await writes.add(Buffer.alloc(bytes, value), from);
          if (wait) await writes.writing;
        }
        await writes.writing;
        expect(writes.writing).toBeUndefined();
        closeSync(fd);
        expect(readFileSync(path).equals(wanted.subarray(0, size))).toBe(true);
      }),
      { numRuns: 60 },
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a write that fails is told to whoever waits, and to the next one", async () => {
  const fd = openSync("/dev/null", "r");
  const writes = new FileWrites(fd);
  await writes.add(Buffer.alloc(100_000), 0);
  await expect(writes.writing).rejects.toThrow("EBADF");
  expect(() => writes.add(Buffer.alloc(1), 0)).toThrow("EBADF");
  closeSync(fd);
});
