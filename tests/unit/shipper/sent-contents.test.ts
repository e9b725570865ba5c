import { expect, test } from "vitest";
import { maxContents, SentContents } from "../../../services/shipper/core/sent-contents.ts";
import type { TreeEntry } from "../../../services/shipper/core/tree-diff.ts";

/** A file in a root of its own. */
function entryOf(name: string): TreeEntry {
  const root = { children: new Map<string, TreeEntry>() } as TreeEntry;
  const entry = { name, parent: root } as TreeEntry;
  root.children?.set(name, entry);
  return entry;
}

test("contents are found in the file that was noted last, as long as its directory has it", () => {
  const sent = new SentContents();
  const [first, second] = [entryOf("a"), entryOf("b")];
  expect(sent.find("k")).toBeUndefined();
  sent.note("k", { tree: 3, entry: first });
  expect(sent.find("k")).toEqual({ tree: 3, entry: first });
  first.parent?.children?.set("a", second);
  expect(sent.find("k")).toBeUndefined();
  sent.note("k", { tree: 0, entry: second });
  expect(sent.find("k")?.entry).toBe(second);
  sent.forget();
  expect(sent.find("k")).toBeUndefined();
});

test("they are remembered up to a bound, and those that are remembered are still found", () => {
  const sent = new SentContents();
  const entry = entryOf("a");
  for (let key = 0; key < maxContents; key++) sent.note(String(key), { tree: key, entry });
  sent.note("one more", { tree: 0, entry });
  expect(sent.find("one more")).toBeUndefined();
  expect(sent.find("77")?.tree).toBe(77);
  sent.note("77", { tree: 1, entry });
  expect(sent.find("77")?.tree).toBe(1);
});
