/** On a file system that is mounted for it. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
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
