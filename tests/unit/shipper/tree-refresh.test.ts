/** A snapshot brought up to date, on a temporary directory. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { takeSnapshot } from "../../../services/shipper/adapters/snapshot.ts";
import { refreshTree } from "../../../services/shipper/adapters/tree-refresh.ts";
import { visit } from "../../../services/shipper/core/tree-diff.ts";
import { TreeIndex } from "../../../services/shipper/core/tree-index.ts";

let dir: string;
beforeEach(() => (dir = temporaryDirectory("dmigrate-trees-")));

test("a directory that was seen, but gone when it was to be opened, is sent with all that is in it", async () => {
  mkdirSync(join(dir, "back/sub"), { recursive: true });
  writeFileSync(join(dir, "back/sub/file"), "");
  const options = {
    tree: { path: dir, mergedPath: undefined, label: "volume v" },
    writers: { startedNs: BigInt(Date.now()) * 1_000_000n, files: new Set<string>() },
    exact: true,
    signal: new AbortController().signal,
  };
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
