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
  expect(guard.hasRoomAfter(1)).toBe(true);
  expect(looks).toBe(1);
  free.bytes = 0;
  expect(guard.hasRoomAfter(10 << 20)).toBe(true);
  expect(looks).toBe(1);
  expect(guard.hasRoomAfter(6 << 20)).toBe(false);
  free.bytes = 16 << 20;
  expect(guard.hasRoomAfter(16 << 20)).toBe(true);
  free.bytes -= 4096;
  expect(guard.hasRoomAfter(16 << 20)).toBe(false);
});

test("empty files count, and so do the files that a file system has room for", () => {
  const guard = guardOf();
  expect(guard.hasRoomAfter(0, 1)).toBe(true);
  free.files = 100;
  expect(guard.hasRoomAfter(0, 4095)).toBe(true);
  expect(guard.hasRoomAfter(0, 1)).toBe(false);
  expect(guardOf().hasRoomAfter(0, 1)).toBe(false);
});

test("a file system that does not count files has room for them", () => {
  free.files = 0;
  expect(guardOf(0).hasRoomAfter(0, 4096)).toBe(true);
});
