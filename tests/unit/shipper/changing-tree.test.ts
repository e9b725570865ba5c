/** A tree that is changed between the look at it and the sending: nothing of what lies elsewhere leaves. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, readFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { sendFirstPass } from "../../../services/shipper/adapters/first-pass.ts";
import { RecordWriter } from "../../../services/shipper/adapters/record-writer.ts";
import { takeSnapshot, type SourceTree } from "../../../services/shipper/adapters/snapshot.ts";
import { sendTree } from "../../../services/shipper/adapters/tree-sender.ts";
import type { Writers } from "../../../services/shipper/adapters/writers.ts";
import { makeFullFrame } from "../../../services/shipper/core/frame-pool.ts";
import { BlockCopies } from "../../../services/shipper/adapters/block-copies.ts";
import { ContentCopies } from "../../../services/shipper/adapters/content-copies.ts";
import { markChanges, type TreeEntry } from "../../../services/shipper/core/tree-diff.ts";

const { signal } = new AbortController();
let dir: string;
let source: string;

beforeEach(() => {
  dir = temporaryDirectory("dmigrate-changing-");
  source = join(dir, "source");
  mkdirSync(source);
});

const tree = (): SourceTree => ({ path: source, mergedPath: undefined, label: "volume v" });
const inSource = (...names: string[]): string => join(source, ...names);
/** Older than the file system's clock tick, so that the time of change tells. */
const settle = () => sleep(80);

const writers = (): Writers => ({ startedNs: BigInt(Date.now()) * 1_000_000n, files: new Set<string>() });

/** A writer that keeps what leaves. */
function recorder(): { writer: RecordWriter; sent: () => Promise<Buffer> } {
  const frames: Buffer[] = [];
  const writer = new RecordWriter({
    takeFrame: makeFullFrame,
    send: (frame) => {
      frames.push(frame);
      return Promise.resolve();
    },
  });
  const sent = async (): Promise<Buffer> => {
    await writer.flush();
    return Buffer.concat(frames);
  };
  return { writer, sent };
}

function secretOutside(): string {
  mkdirSync(join(dir, "outside"));
  writeFileSync(join(dir, "outside/secret"), "the host's secret");
  return join(dir, "outside");
}

const directorySwap: [string, (path: string, outside: string) => void] = [
  "a directory by a link to the outside",
  (path, outside) => {
    renameSync(path, join(dir, "was"));
    symlinkSync(outside, path);
  },
];
const fileSwaps: [string, (path: string, outside: string) => void][] = [
  [
    "a file by a link to the outside",
    (path, outside) => {
      rmSync(path);
      symlinkSync(join(outside, "secret"), path);
    },
  ],
  [
    "a file by a FIFO, which would block for ever",
    (path) => {
      rmSync(path);
      execFileSync("mkfifo", [path]);
    },
  ],
  [
    "a file by a directory",
    (path) => {
      rmSync(path);
      mkdirSync(path);
      writeFileSync(join(path, "inside"), "inside");
    },
  ],
  ["a file by nothing", (path) => rmSync(path)],
];

describe("a tree that changes during the first pass", () => {
  const names = ["one", "two"] as const;

  /** Sends the tree; once the first of the two names was looked at, whichever it is, `change` is given the other one. */
  async function sendWhile(
    change: (victim: string) => void,
  ): Promise<{ bytes: Buffer; root: TreeEntry; victim: string }> {
    const { writer, sent } = recorder();
    let victim: string | undefined;
    const onEntry = ({ name }: TreeEntry): void => {
      if (victim !== undefined || !names.some((each) => each === name)) return;
      victim = name === "one" ? "two" : "one";
      change(victim);
    };
    using copies = new BlockCopies();
    const contents = new ContentCopies({ linkHoldsUp: () => false, linkIsBusy: false });
    const { root } = await sendFirstPass({
      tree: tree(),
      writers: writers(),
      writer,
      copies,
      contents,
      onEntry,
      signal,
    });
    return { bytes: await sent(), root, victim: victim ?? "none" };
  }

  test.each(fileSwaps)("never leads elsewhere, and goes on: %s", async (_what, swap) => {
    const outside = secretOutside();
    for (const name of names) writeFileSync(inSource(name), `harmless ${name}`);
    const { bytes, root, victim } = await sendWhile((each) => swap(inSource(each), outside));
    expect(bytes.includes("the host's secret")).toBe(false);
    expect(bytes.includes(`harmless ${victim}`)).toBe(false);
    expect(bytes.includes("harmless")).toBe(true);
    // It is in the tree as what was sent, if anything was.
    const later = await takeSnapshot({ tree: tree(), writers: writers(), exact: true, signal });
    expect(root.children?.get(victim)?.kind).toBe(later.root.children?.get(victim)?.kind);
  });

  test("never leads elsewhere, and goes on: a directory by a link", async () => {
    const outside = secretOutside();
    for (const name of names) {
      mkdirSync(inSource(name));
      writeFileSync(inSource(name, "secret"), `harmless ${name}`);
    }
    const { bytes, root, victim } = await sendWhile((each) => directorySwap[1](inSource(each), outside));
    expect(bytes.includes("the host's secret")).toBe(false);
    expect(bytes.includes(`harmless ${victim}`)).toBe(false);
    expect(bytes.includes("harmless")).toBe(true);
    expect(root.children?.get(victim)?.kind).toBe("symlink");
  });

  test("is not taken for sent when something else stood in its place just then", async () => {
    const away = join(dir, "away");
    mkdirSync(away);
    writeFileSync(join(away, "secret"), "the other one");
    for (const name of names) {
      mkdirSync(inSource(name));
      writeFileSync(inSource(name, "secret"), "the true one");
    }
    await settle();
    const swap = (victim: string): void => {
      renameSync(inSource(victim), join(dir, "aside"));
      renameSync(away, inSource(victim));
      renameSync(join(dir, "aside"), away);
    };
    const { bytes, root, victim } = await sendWhile(swap);
    expect(bytes.includes("the other one")).toBe(true);
    swap(victim);
    const later = await takeSnapshot({ tree: tree(), writers: writers(), exact: true, signal });
    markChanges(root, later.root);
    expect(later.root.children?.get(victim)?.children?.get("secret")?.send).toBe(true);
  });
});

test("a tree of more entries than there is memory for is refused, and says so", async () => {
  for (let n = 0; n < 20; n++) writeFileSync(inSource(`f${n}`), "");
  const options = { tree: tree(), writers: writers(), signal, maxEntries: 20 };
  const refusal = { code: "not-migratable", message: expect.stringContaining("more than 20 files") as string };
  await expect(takeSnapshot({ ...options, exact: true })).rejects.toMatchObject(refusal);
  using copies = new BlockCopies();
  const contents = new ContentCopies({ linkHoldsUp: () => false, linkIsBusy: false });
  const { writer } = recorder();
  await expect(sendFirstPass({ ...options, writer, copies, contents, onEntry: () => undefined })).rejects.toMatchObject(
    refusal,
  );
  await expect(takeSnapshot({ ...options, exact: true, maxEntries: 21 })).resolves.toMatchObject({ entries: 21 });
});

describe("a block that was sent before", () => {
  /** Sends two equal files; `change` is given the name of the first one sent, before the second one is read. */
  async function bytesSent(change: (first: string) => void): Promise<number> {
    const block = randomBytes(256 * 1024);
    for (const name of ["one", "two"]) writeFileSync(inSource(name), block);
    await settle();
    const { writer, sent } = recorder();
    const seen: string[] = [];
    const onEntry = ({ name }: TreeEntry): void => {
      if (name !== "") seen.push(name);
      if (seen.length === 2) change(seen[0] ?? "");
    };
    using copies = new BlockCopies();
    const contents = new ContentCopies({ linkHoldsUp: () => false, linkIsBusy: false });
    await sendFirstPass({ tree: tree(), writers: writers(), writer, copies, contents, onEntry, signal });
    return (await sent()).length;
  }
  const once = 300_000;

  test("is not sent again", async () => {
    expect(await bytesSent(() => undefined)).toBeLessThan(once);
  });
  test.each<[string, (path: string) => void]>([
    ["has other bytes now", (path) => writeFileSync(path, "x", { flag: "r+" })],
    ["was written, with what it has", (path) => writeFileSync(path, readFileSync(path))],
    ["is gone", (path) => rmSync(path)],
    [
      "is a directory",
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
    ],
    [
      "is a FIFO",
      (path) => {
        rmSync(path);
        execFileSync("mkfifo", [path]);
      },
    ],
    [
      "is a link",
      (path) => {
        renameSync(path, join(dir, "moved"));
        symlinkSync(join(dir, "moved"), path);
      },
    ],
    [
      "is another file with the same bytes",
      (path) => {
        copyFileSync(path, join(dir, "copy"));
        renameSync(join(dir, "copy"), path);
      },
    ],
  ])("is sent again when the file that has it %s", async (_what, change) => {
    expect(await bytesSent((first) => change(inSource(first)))).toBeGreaterThan(2 * 256 * 1024);
  });
});

describe("a tree that changes between the exact look and the sending", () => {
  test.each([directorySwap, ...fileSwaps])("fails the pass: %s", async (_what, swap) => {
    const outside = secretOutside();
    mkdirSync(inSource("dir"));
    writeFileSync(inSource("dir/secret"), "harmless");
    const { root } = await takeSnapshot({ tree: tree(), writers: writers(), exact: true, signal });
    markChanges(undefined, root);
    swap(inSource(swap === directorySwap[1] ? "dir" : "dir/secret"), outside);
    const { writer, sent } = recorder();
    await expect(sendTree({ tree: tree(), root, writer, signal })).rejects.toMatchObject({
      code: "transfer-failed",
      message: expect.stringContaining("volume v: /") as string,
    });
    expect((await sent()).includes("the host's secret")).toBe(false);
  });
});
