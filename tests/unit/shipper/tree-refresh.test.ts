/** A snapshot brought up to date, on a temporary directory. */
import { chmodSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { takeSnapshot, type LookOptions } from "../../../services/shipper/adapters/snapshot.ts";
import { refreshTree } from "../../../services/shipper/adapters/tree-refresh.ts";
import { visit } from "../../../services/shipper/core/tree-diff.ts";
import { TreeIndex } from "../../../services/shipper/core/tree-index.ts";

let dir: string;
beforeEach(() => (dir = temporaryDirectory("dmigrate-trees-")));

const look = (): LookOptions => ({
  tree: { path: dir, mergedPath: undefined, label: "volume v" },
  writers: { startedNs: BigInt(Date.now()) * 1_000_000n, files: new Set<string>() },
  exact: true,
  signal: new AbortController().signal,
});

test("a directory that was seen, but gone when it was to be opened, is sent with all that is in it", async () => {
  mkdirSync(join(dir, "back/sub"), { recursive: true });
  writeFileSync(join(dir, "back/sub/file"), "");
  const options = look();
  const { root } = await takeSnapshot(options);
  const back = root.children?.get("back");
  Object.assign(back ?? {}, { children: undefined, certain: false });
  const index = new TreeIndex();
  index.add(root);

  await refreshTree(index, root, new Map([[root, new Set(["back"])]]), options);

  const sent: string[] = [];
  visit(root, ({ send, name }) => send && sent.push(name));
  expect(sent).toEqual(["", "back", "sub", "file"]);
});

test("a file with tens of thousands of names is looked at, and all of them are sent", async () => {
  const names = 30_000;
  mkdirSync(join(dir, "links"));
  writeFileSync(join(dir, "file"), "");
  for (let n = 1; n < names; n++) linkSync(join(dir, "file"), join(dir, "links", `${n}`));
  const options = look();
  const { root } = await takeSnapshot(options);
  const index = new TreeIndex();
  index.add(root);
  chmodSync(join(dir, "file"), 0o600);

  const marked = await refreshTree(index, root, new Map([[root, new Set(["file"])]]), options);

  // The directory too, and the root.
  expect(marked).toBe(names + 2);
});

test("a directory is sent again that a change in the same tick of the clock may not show of", async () => {
  mkdirSync(join(dir, "sub"));
  const options = look();
  const { root } = await takeSnapshot(options);
  const index = new TreeIndex();
  index.add(root);
  const sub = root.children?.get("sub");
  Object.assign(sub ?? {}, { recent: true });

  await refreshTree(index, root, new Map([[root, new Set(["sub"])]]), options);

  expect(sub?.send).toBe(true);
});
