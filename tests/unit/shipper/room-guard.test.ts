import { beforeEach, expect, test } from "vitest";
import { RoomGuard } from "../../../services/shipper/adapters/room-guard.ts";

let looks: number;
let free: { bytes: number; files: number };
beforeEach(() => {
  looks = 0;
  free = { bytes: 2 ** 30, files: 1e6 };
});

/** Of a file system of 64 GiB. */
const guardOf = (files = 1e6): RoomGuard =>
  new RoomGuard("/", () => {
    looks++;
    return { bsize: 4096, blocks: 2 ** 24, bavail: free.bytes / 4096, files, ffree: free.files };
  });

test("a file system is looked at first and after each 16 MiB, and 16 MiB of it stay free", () => {
  const guard = guardOf();
  expect(guard.shortageAfter(1)).toBeUndefined();
  expect(looks).toBe(1);
  free.bytes = 0;
  expect(guard.shortageAfter(10 << 20)).toBeUndefined();
  expect(looks).toBe(1);
  expect(guard.shortageAfter(6 << 20)).toBe("bytes");
  free.bytes = 16 << 20;
  expect(guard.shortageAfter(16 << 20)).toBeUndefined();
  free.bytes -= 4096;
  expect(guard.shortageAfter(16 << 20)).toBe("bytes");
});

test("empty files count, and so do the files that a file system has room for", () => {
  const guard = guardOf();
  expect(guard.shortageAfter(0, 1)).toBeUndefined();
  free.files = 100;
  expect(guard.shortageAfter(0, 4095)).toBeUndefined();
  expect(guard.shortageAfter(0, 1)).toBe("inodes");
  expect(guardOf().shortageAfter(0, 1)).toBe("inodes");
});

test("a file system that does not count files has room for them", () => {
  free.files = 0;
  expect(guardOf(0).shortageAfter(0, 4096)).toBeUndefined();
});

test("what ran out is told apart once the file system has refused", () => {
  expect(guardOf().shortageNow()).toBe("bytes");
  free.files = 0;
  expect(guardOf().shortageNow()).toBe("inodes");
  expect(guardOf(0).shortageNow()).toBe("bytes");
});
