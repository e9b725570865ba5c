import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { takeSnapshot } from "../../../services/shipper/adapters/snapshot.ts";

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), "snapshot-"));
  mkdirSync(join(path, "tmp"));
});
afterEach(() => rmSync(path, { recursive: true }));

/** CRIU runs as root, so does whoever tests its directories. */
it.runIf(process.getuid?.() === 0)(
  "leaves out CRIU's directory while the container is frozen, and nothing else",
  async () => {
    mkdirSync(join(path, "tmp/cr-tmpfs.aB3xYz"), { mode: 0o700 });
    mkdirSync(join(path, "tmp/cr-tmpfs.short"), { mode: 0o700 });
    mkdirSync(join(path, "tmp/cr-tmpfs.public"), { mode: 0o755 });
    writeFileSync(join(path, "tmp/cr-tmpfs.file12"), "a file of the container's");
    mkdirSync(join(path, "tmp/cr-tmpfs.filled"), { mode: 0o700 });
    writeFileSync(join(path, "tmp/cr-tmpfs.filled/precious"), "also the container's");
    const options = {
      tree: { label: "a tree", path },
      writers: { startedNs: 0n },
      signal: new AbortController().signal,
    };
    const names = async (exact: boolean): Promise<string[]> => {
      const { root } = await takeSnapshot({ ...options, exact } as never);
      return [...(root.children?.get("tmp")?.children?.keys() ?? [])].sort();
    };
    expect(await names(true)).toEqual(["cr-tmpfs.file12", "cr-tmpfs.filled", "cr-tmpfs.public", "cr-tmpfs.short"]);
    expect(await names(false)).toHaveLength(5);
  },
);
