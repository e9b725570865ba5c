import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { timeOf } from "../../../services/shared/core/file-time.ts";
import { changeTimeTells, markChanges, type TreeEntry } from "../../../services/shipper/core/tree-diff.ts";

let inodes = 0;

function file(change: Partial<TreeEntry> = {}): TreeEntry {
  return {
    kind: "file",
    signature: "same",
    identity: `inode ${++inodes}`,
    mergedIdentity: undefined,
    parent: undefined,
    name: "",
    links: 1,
    certain: true,
    recent: false,
    opaque: false,
    children: undefined,
    send: false,
    fresh: false,
    removed: [],
    tags: undefined,
    ...change,
  };
}

function directory(children: Record<string, TreeEntry>, change: Partial<TreeEntry> = {}): TreeEntry {
  return file({ kind: "directory", children: new Map(Object.entries(children)), ...change });
}

/** Paths of the marked entries, `/` for the root. */
function marked(entry: TreeEntry, path = "/"): string[] {
  const below = [...(entry.children ?? [])].flatMap(([name, child]) =>
    marked(child, path === "/" ? `/${name}` : `${path}/${name}`),
  );
  return entry.send ? [path, ...below] : below;
}

/** The tree as a second look would show it. */
function again(entry: TreeEntry): TreeEntry {
  const children = entry.children && new Map([...entry.children].map(([name, child]) => [name, again(child)]));
  return { ...entry, children, send: false, fresh: false, removed: [] };
}

/** The entry at a path, of a tree that has it. */
function at(root: TreeEntry, ...names: string[]): TreeEntry {
  return names.reduce((entry, name) => {
    const child = entry.children?.get(name);
    if (child === undefined) throw new Error(`no ${name}`);
    return child;
  }, root);
}

describe("what is sent", () => {
  test("is everything at first", () => {
    const root = directory({ a: file(), d: directory({ b: file() }) });
    expect(markChanges(undefined, root)).toBe(4);
    expect(marked(root)).toEqual(["/", "/a", "/d", "/d/b"]);
  });

  test("is nothing when nothing changed", () => {
    const root = directory({ a: file(), d: directory({ b: file() }) });
    const later = again(root);
    expect(markChanges(root, later)).toBe(0);
  });

  test.each<[string, Partial<TreeEntry>, Partial<TreeEntry>]>([
    ["it changed", {}, { signature: "other" }],
    ["it was not certain then", { certain: false }, {}],
    ["it is not certain now", {}, { certain: false }],
  ])("is a file, with the directories above it, when %s", (_when, before, after) => {
    const root = directory({ a: file(), d: directory({ e: directory({ b: file(before) }) }) });
    const later = again(root);
    Object.assign(at(later, "d", "e", "b"), after);
    if (before.certain === false) at(later, "d", "e", "b").certain = true;
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/d", "/d/e", "/d/e/b"]);
  });

  test("is the directory of a name that is gone", () => {
    const root = directory({ d: directory({ b: file(), c: file() }) });
    const later = again(root);
    at(later, "d").children?.delete("b");
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/d"]);
    expect(at(later, "d").removed).toEqual(["b"]);
  });

  test("is every name of a file with several", () => {
    const linked = { identity: "shared", links: 3 };
    const root = directory({ a: file(linked), d: directory({ b: file(linked) }), e: directory({ c: file(linked) }) });
    const later = again(root);
    at(later, "a").certain = false;
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/a", "/d", "/d/b", "/e", "/e/c"]);
  });

  test("is all of a directory that has become opaque", () => {
    const root = directory({ d: directory({ b: file(), s: directory({ c: file() }) }) });
    const later = again(root);
    at(later, "d").opaque = true;
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/d", "/d/b", "/d/s", "/d/s/c"]);
    expect(at(later, "d").fresh).toBe(true);
  });

  test("is only the change in a directory that was opaque already", () => {
    const root = directory({ d: directory({ b: file(), c: file() }, { opaque: true }) });
    const later = again(root);
    at(later, "d", "b").signature = "other";
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/d", "/d/b"]);
    expect(at(later, "d").fresh).toBe(false);
  });

  test("is all of an opaque directory that took another's place", () => {
    const root = directory({ d: directory({ b: file() }, { opaque: true }) });
    const later = again(root);
    at(later, "d").identity = "another";
    markChanges(root, later);
    expect(at(later, "d").fresh).toBe(true);
    expect(marked(later)).toContain("/d/b");
  });

  test("is a directory that took a file's place, with what is in it", () => {
    const root = directory({ d: file() });
    const later = directory({ d: directory({ b: file() }) }, { identity: root.identity });
    markChanges(root, later);
    expect(marked(later)).toEqual(["/", "/d", "/d/b"]);
  });

  test("makes the earlier tree into the later one", () => {
    const leaf = fc.record({ signature: fc.constantFrom("1", "2"), certain: fc.boolean() });
    type Shape = { signature: string; certain: boolean } | { [name: string]: Shape };
    const { shape } = fc.letrec<{ shape: Shape }>((tie) => ({
      shape: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.dictionary(fc.constantFrom("a", "b", "c"), tie("shape"), { maxKeys: 3 }),
      ),
    }));
    const isLeaf = (each: Shape): each is { signature: string; certain: boolean } =>
      typeof each["signature"] === "string";
    const build = (each: Shape): TreeEntry =>
      isLeaf(each)
        ? file({ signature: each.signature, certain: each.certain, identity: "x" })
        : directory(Object.fromEntries(Object.entries(each).map(([name, child]) => [name, build(child)])), {
            signature: "directory",
            identity: "x",
          });
    /** What the destination has after applying the marks to what it had. */
    const apply = (had: TreeEntry | undefined, entry: TreeEntry): TreeEntry => {
      if (!entry.send && had !== undefined) return had;
      if (entry.children === undefined) return entry;
      const base = had?.kind === "directory" && !entry.fresh ? new Map(had.children) : new Map<string, TreeEntry>();
      for (const name of entry.removed) base.delete(name);
      for (const [name, child] of entry.children) if (child.send) base.set(name, apply(base.get(name), child));
      return { ...entry, children: base };
    };
    const shapeOf = (entry: TreeEntry): unknown =>
      entry.children === undefined
        ? entry.signature
        : Object.fromEntries([...entry.children].sort().map(([name, child]) => [name, shapeOf(child)]));
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom("a", "b", "c"), shape),
        fc.dictionary(fc.constantFrom("a", "b", "c"), shape),
        (one, other) => {
          const [before, after] = [build(one), build(other)];
          markChanges(undefined, before);
          const there = apply(undefined, before);
          markChanges(before, after);
          expect(shapeOf(apply(there, after))).toEqual(shapeOf(after));
        },
      ),
    );
  });
});

describe("the change time tells of later changes", () => {
  const second = 1_000_000_000n;
  test.each([
    ["an older one, by more than a tick", 10n * second + 1n, 11n * second, true],
    ["one within the tick", 10n * second + 1n, 10n * second + 40_000_000n, false],
    ["one of the future", 12n * second + 1n, 11n * second, false],
    ["a whole second, a second ago", 10n * second, 11n * second, false],
    ["a whole second, three seconds ago", 10n * second, 13n * second, true],
  ])("%s", (_what, changeNs, beforeNs, tells) => {
    expect(changeTimeTells(timeOf(changeNs), timeOf(beforeNs))).toBe(tells);
  });
});
