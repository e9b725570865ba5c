/**
 * Run in a node, on directories that stand still: prints each tree with extended attributes and holes, as JSON. What
 * overlayfs notes for itself in a writable layer is left out: the time and the owner of a whiteout, and whether a directory hides one of
 * the image (it says so also where there is none to hide; what shows through is seen in the merged directory).
 */
import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs";
import { dirname, basename } from "node:path";
import { getAttribute, listAttributes, seekData, seekHole } from "../../../services/shared/adapters/linux.ts";
import { printTree } from "../tree-print.ts";

const overlayOwn = /^trusted\.overlay\./;
const whiteout = /^20000 0 \d+ \d+ 0 /;

function attributesOf(path: Buffer): string[] {
  // Paths are bytes; latin1 keeps them apart for the two calls that only take text.
  const text = path.toString("latin1");
  const dirFd = openSync(Buffer.from(dirname(text), "latin1"), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const target = { dirFd, name: Buffer.from(basename(text), "latin1") };
    return listAttributes(target)
      .filter((name) => !overlayOwn.test(name.toString()))
      .map((name) => `${name.toString("latin1")}=${getAttribute(target, name)?.toString("hex") ?? "none"}`)
      .sort();
  } finally {
    closeSync(dirFd);
  }
}

/** Where data lies, as `from-to`. */
function extentsOf(path: Buffer): string[] {
  if (!lstatSync(path).isFile()) return [];
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(fd);
    const extents: string[] = [];
    for (let at = 0; at < size;) {
      const from = seekData(fd, at);
      if (from === undefined) break;
      at = seekHole(fd, from);
      extents.push(`${from}-${at}`);
    }
    return extents;
  } finally {
    closeSync(fd);
  }
}

const trees = process.argv
  .slice(2)
  .map((root) => printTree(root, (path) => [...attributesOf(path), ...extentsOf(path)]));
process.stdout.write(
  JSON.stringify(trees, (_path, facts: unknown) =>
    typeof facts === "string" && whiteout.test(facts) ? "whiteout" : facts,
  ),
);
