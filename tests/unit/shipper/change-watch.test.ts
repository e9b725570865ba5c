/** On a file system that is mounted for it. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { statDescriptor } from "../../../services/shared/adapters/linux.ts";
import { ChangeWatch } from "../../../services/shipper/change-watch.ts";
import type { TreeEntry } from "../../../services/shipper/core/tree-diff.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

let mounted: string;
let watch: ChangeWatch;

beforeEach(() => {
  mounted = temporaryDirectory("dmigrate-watch-");
  execFileSync("mount", ["-t", "tmpfs", "none", mounted]);
  watch = new ChangeWatch(() => true);
  const fd = openSync(mounted, "r");
  watch.watchMerged({} as TreeEntry, fd);
  closeSync(fd);
});

afterEach(() => {
  watch.close();
  execFileSync("sh", ["-c", 'umount "$1" 2>/dev/null || true', "sh", mounted]);
});

test("what is not unmounted is relied on", () => {
  expect(watch.take()).toBeDefined();
  expect(watch.trouble).toBeUndefined();
});

test("once the container's files were unmounted, changes may be missing", () => {
  execFileSync("umount", [mounted]);
  expect(watch.take()).toBeUndefined();
  expect(watch.trouble).toContain("started anew");
});

/** More than the kernel keeps, without giving the watch a chance to read. */
function writeMany(): void {
  for (let n = 0; n < 20_000; n++) writeFileSync(join(mounted, `f${n}`), "x");
}

test("when the reports of a merged mount overflow, changes may be missing", () => {
  writeMany();
  expect(watch.take()).toBeUndefined();
  expect(watch.trouble).toContain("overflowed");
});

test("when the reports of a file system overflow, changes may be missing", () => {
  const alone = new ChangeWatch(() => true);
  const fd = openSync(mounted, "r");
  alone.watchTree(fd, statDescriptor(fd).identity);
  closeSync(fd);
  expect(alone.trouble).toBeUndefined();
  writeMany();
  expect(alone.take()).toBeUndefined();
  expect(alone.trouble).toContain("overflowed");
  alone.close();
});
