/** A tree that is changed between the look at it and the sending: nothing of what lies elsewhere leaves. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RecordWriter } from "../../../services/shipper/adapters/record-writer.ts";
import { takeSnapshot, type SourceTree } from "../../../services/shipper/adapters/snapshot.ts";
import { sendTree } from "../../../services/shipper/adapters/tree-sender.ts";
import { makeFullFrame } from "../../../services/shipper/core/frame-pool.ts";
import { markChanges, type TreeEntry } from "../../../services/shipper/core/tree-diff.ts";

const { signal } = new AbortController();
let dir: string;
let source: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "dmigrate-changing-"));
  source = join(dir, "source");
  mkdirSync(source);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const tree = (): SourceTree => ({ path: source, mergedPath: undefined, label: "volume v" });
const inSource = (...names: string[]): string => join(source, ...names);
/** Older than the file system's clock tick, so that the time of change tells. */
const settle = () => sleep(80);

describe("a tree that changes while it is read", () => {
  /** Looks at the tree, lets it change, then sends it: the records that leave. */
  async function sendAfter(exact: boolean, change: () => void): Promise<{ bytes: Buffer; root: TreeEntry }> {
    const writers = { startedNs: BigInt(Date.now()) * 1_000_000n, files: new Set<string>() };
    const { root } = await takeSnapshot({ tree: tree(), writers, exact, signal });
    markChanges(undefined, root);
    change();
    const frames: Buffer[] = [];
    const writer = new RecordWriter({
      takeFrame: makeFullFrame,
      send: (frame) => {
        frames.push(frame);
        return Promise.resolve();
      },
    });
    await sendTree({ tree: tree(), root, writer, prune: !exact, exact, signal });
    await writer.flush();
    return { bytes: Buffer.concat(frames), root };
  }

  const secretFile = (): string => {
    mkdirSync(join(dir, "outside"));
    writeFileSync(join(dir, "outside/secret"), "the host's secret");
    return join(dir, "outside");
  };

  const swaps: [string, (outside: string) => void][] = [
    [
      "a directory by a link to the outside",
      (outside) => {
        renameSync(inSource("dir"), join(dir, "was"));
        symlinkSync(outside, inSource("dir"));
      },
    ],
    [
      "a file by a link to the outside",
      (outside) => {
        rmSync(inSource("dir/secret"));
        symlinkSync(join(outside, "secret"), inSource("dir/secret"));
      },
    ],
    [
      "a file by a FIFO, which would block for ever",
      () => {
        rmSync(inSource("dir/secret"));
        execFileSync("mkfifo", [inSource("dir/secret")]);
      },
    ],
    ["a file by nothing", () => rmSync(inSource("dir/secret"))],
  ];

  test.each(swaps)("never leads elsewhere: %s; the first pass goes on", async (_what, swap) => {
    const outside = secretFile();
    mkdirSync(inSource("dir"));
    writeFileSync(inSource("dir/secret"), "harmless");
    writeFileSync(inSource("other"), "the rest");
    const { bytes, root } = await sendAfter(false, () => swap(outside));
    expect(bytes.includes("the host's secret")).toBe(false);
    expect(bytes.includes("the rest")).toBe(true);
    // What was passed over is sent again by the exact pass, whatever the next look at it shows.
    expect(root.children?.get("dir")?.children?.get("secret")?.certain).toBe(false);
  });

  test("is not taken for sent when something else stood in its place just then", async () => {
    const away = join(dir, "away");
    for (const [where, text] of [
      [inSource("dir"), "the true one"],
      [away, "the other one"],
    ] as const) {
      mkdirSync(where);
      writeFileSync(join(where, "secret"), text);
    }
    await settle();
    const swap = (): void => {
      renameSync(inSource("dir"), join(dir, "aside"));
      renameSync(away, inSource("dir"));
      renameSync(join(dir, "aside"), away);
    };
    const { bytes, root } = await sendAfter(false, swap);
    expect(bytes.includes("the other one")).toBe(true);
    swap();
    const writers = { startedNs: BigInt(Date.now()) * 1_000_000n, files: new Set<string>() };
    const later = await takeSnapshot({ tree: tree(), writers, exact: true, signal });
    markChanges(root, later.root);
    expect(later.root.children?.get("dir")?.children?.get("secret")?.send).toBe(true);
  });

  test.each(swaps)("fails the exact pass: %s", async (_what, swap) => {
    const outside = secretFile();
    mkdirSync(inSource("dir"));
    writeFileSync(inSource("dir/secret"), "harmless");
    await expect(sendAfter(true, () => swap(outside))).rejects.toMatchObject({
      code: "transfer-failed",
      message: expect.stringContaining("volume v: /") as string,
    });
  });
});
