/** A destination's tree that records are applied to, with something precious beside it; and the records. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { close, openTrustedDirectory } from "../../services/shared/adapters/linux.ts";
import type { Attributes } from "../../services/shared/core/frames/attributes.ts";
import type { TreeRecord } from "../../services/shared/core/frames/tree-record.ts";
import { Origins } from "../../services/shipper/adapters/origins.ts";
import { TreeWriter } from "../../services/shipper/adapters/tree-writer.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

export const attributes: Attributes = {
  mode: 0o100600,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  access: { seconds: 0, nanos: 0 },
  modify: { seconds: 0, nanos: 0 },
};

export const directory = (name: string, flags: { fresh?: boolean; prune?: boolean } = {}): TreeRecord => ({
  type: "directory",
  name: Buffer.from(name),
  attributes: { ...attributes, mode: 0o40755 },
  fresh: false,
  prune: false,
  ...flags,
});
export const file = (name: string, size = 0): TreeRecord => ({
  type: "file",
  name: Buffer.from(name),
  attributes,
  size,
});
export const symlink = (name: string, to: string): TreeRecord => ({
  type: "symlink",
  name: Buffer.from(name),
  attributes,
  target: Buffer.from(to),
});
export const link = (name: string, path: string): TreeRecord => ({
  type: "link",
  name: Buffer.from(name),
  path: Buffer.from(path),
});
export const chunk = (offset: number, text: string): TreeRecord => ({
  type: "chunk",
  offset,
  bytes: Buffer.from(text),
});
export const leave: TreeRecord = { type: "leave" };
export const fileEnd: TreeRecord = { type: "fileEnd" };

export class TreeTarget {
  readonly dir = temporaryDirectory("dmigrate-writer-");
  readonly root = join(this.dir, "root");
  readonly outside = join(this.dir, "outside");
  readonly origins = new Origins();
  /** What records go to; another may come in its place. */
  writer: TreeWriter;
  readonly rootFd: number;

  constructor() {
    mkdirSync(this.root);
    mkdirSync(this.outside);
    writeFileSync(join(this.outside, "precious"), "precious");
    this.rootFd = openTrustedDirectory(this.root);
    const { rootFd, root: rootPath, origins } = this;
    this.writer = new TreeWriter({ rootFd, rootPath, leftovers: undefined, keepAttributes: true, origins });
  }

  async apply(records: readonly TreeRecord[]): Promise<void> {
    for (const record of records) await this.writer.apply(record);
  }

  /** Closes it, and sees that nothing outside was touched. */
  async close(): Promise<void> {
    await this.writer.dispose();
    this.origins.close();
    close(this.rootFd);
    expect(readdirSync(this.outside)).toEqual(["precious"]);
    expect(readFileSync(join(this.outside, "precious"), "utf8")).toBe("precious");
  }
}
