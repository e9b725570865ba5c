/** A directory tree as plain values, read with Node's own calls only: two trees are the same if these are equal. */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * Path (latin1 of its bytes) to everything that a migration must keep. What Node has no calls for, extended attributes
 * and holes, is for `more` to add.
 */
export function printTree(root: string, more: (path: Buffer) => string[] = () => []): Record<string, string> {
  const entries: Record<string, string> = {};
  /** First path of each file with several names. */
  const first = new Map<bigint, string>();
  const visit = (path: Buffer, shown: string): void => {
    const stat = lstatSync(path, { bigint: true });
    const facts = [stat.mode.toString(8), stat.uid, stat.gid, stat.mtimeNs, stat.rdev];
    if (!stat.isDirectory()) facts.push(stat.size);
    if (!stat.isDirectory() && stat.nlink > 1n) {
      if (!first.has(stat.ino)) first.set(stat.ino, shown);
      facts.push(`links to ${first.get(stat.ino) ?? ""}`);
    }
    if (stat.isFile()) facts.push(createHash("sha256").update(readFileSync(path)).digest("hex"));
    if (stat.isSymbolicLink()) facts.push(readlinkSync(path, { encoding: "buffer" }).toString("latin1"));
    entries[shown] = [...facts, ...more(path)].join(" ");
    if (!stat.isDirectory()) return;
    const names = readdirSync(path, { encoding: "buffer" }).sort((a, b) => Buffer.compare(a, b));
    for (const name of names)
      visit(Buffer.concat([path, Buffer.from("/"), name]), `${shown}/${name.toString("latin1")}`);
  };
  visit(Buffer.from(root), ".");
  return entries;
}
