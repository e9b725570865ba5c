/** A file whose job ends while its last writes are under way. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { close, openTrustedDirectory } from "../../../services/shared/adapters/linux.ts";
import { TargetFile } from "../../../services/shipper/adapters/target-file.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { openDescriptors } from "../../helpers/socket-pair.ts";

let dir: string;
let file: TargetFile;
let before: number;
const size = 1 << 20;

beforeEach(() => {
  dir = temporaryDirectory("target-file-");
  before = openDescriptors();
  const dirFd = openTrustedDirectory(dir);
  const time = { seconds: 0, nanos: 0 };
  const attributes = { mode: 0o100600, uid: 0, gid: 0, access: time, modify: time };
  file = TargetFile.create(dirFd, { name: Buffer.from("file"), attributes, size: 2 * size }, 0o600);
  close(dirFd);
});

test("its descriptor is closed once, though it is given up while it is being finished", async () => {
  void file.chunk(0, Buffer.alloc(size, 7));
  const finished = file.finish(false);
  const abandoned = file.abandon();
  await expect(Promise.all([finished, abandoned])).resolves.toBeDefined();
  expect(openDescriptors()).toBe(before);
  expect(statSync(join(dir, "file")).size).toBe(2 * size);
});

test("its descriptor is closed once, however often it is given up", async () => {
  void file.chunk(0, Buffer.alloc(size, 7));
  await file.abandon();
  await file.abandon();
  expect(openDescriptors()).toBe(before);
});
