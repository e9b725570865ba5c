import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { MigrationRecord } from "../../../services/planner/adapters/migration-table.ts";
import { openStore } from "../../../services/planner/adapters/store.ts";
import type { MigrationEvent, MigrationPhase } from "../../../services/shared/contracts/planner.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dmigrate-store-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const idOf = (n: number): string => `m-${n.toString(16).padStart(16, "0")}`;

const record = (n: number, phase: MigrationPhase = "preparing"): MigrationRecord => ({
  migration: {
    id: idOf(n),
    container: "web",
    from: "a",
    to: "b",
    mode: "post-copy",
    phase,
    createdAt: "2026-01-01T00:00:00.000Z",
    updatedAt: "2026-01-01T00:00:00.000Z",
    abandoned: [],
    bytesSent: 0,
    pagesTotal: 0,
    pagesFaulted: 0,
    pagesPrefetched: 0,
    pagesZero: 0,
    pagesEqual: 0,
    stages: [],
  },
  job: { removeSource: false, containerName: "web", trace: {} },
});

const event = (n: number, seq: number, type: MigrationEvent["type"] = "phase"): MigrationEvent => {
  const { migration } = record(n);
  return { seq, at: migration.updatedAt, type, phase: migration.phase, message: `event ${seq}`, migration };
};

test("what was written is there after it was opened again", () => {
  let store = openStore(directory);
  const node = { name: "a", agent: { url: "http://10.0.0.1:7400", token: "0123456789abcdef" } };
  store.nodes.put(node);
  store.migrations.save(record(1), [event(1, 1), event(1, 2)]);
  store.leftovers.put({ node: "a", name: "web", containerId: "f".repeat(64) });
  const link = { bytesPerSecond: 117.5e6, measuredAt: 1_700_000_000_000 };
  store.links.put("a", "b", { ...link, metBytesPerSecond: 1 });
  store.links.put("a", "b", link);
  store.links.put("b", "a", { ...link, metBytesPerSecond: 2e6 });
  store.close();
  store = openStore(directory);
  expect(store.nodes.list()).toEqual([node]);
  expect(store.migrations.get(idOf(1))).toEqual(record(1));
  expect(store.migrations.events(idOf(1), 1, 10)).toEqual([event(1, 2)]);
  expect(store.migrations.lastSeq(idOf(1))).toBe(2);
  expect(store.leftovers.find("a", "web")).toBe("f".repeat(64));
  expect(store.migrations.get(idOf(2))).toBeUndefined();
  expect(store.links.find("a", "b")).toEqual(link);
  expect(store.links.find("b", "a")).toEqual({ ...link, metBytesPerSecond: 2e6 });
  store.close();
});

test("what is known of a node's links goes with it, and of no other's", () => {
  const store = openStore(directory);
  const link = { bytesPerSecond: 1e6, measuredAt: 1 };
  for (const [from, to] of [
    ["a", "b"],
    ["c", "a"],
    ["b", "c"],
  ] as const)
    store.links.put(from, to, link);
  store.links.forget("a");
  expect([store.links.find("a", "b"), store.links.find("c", "a"), store.links.find("b", "c")]).toEqual([
    undefined,
    undefined,
    link,
  ]);
  store.close();
});

test("the first version's file is taken over", () => {
  const first = openStore(directory);
  first.migrations.save(record(1), [event(1, 1)]);
  first.close();
  const db = new DatabaseSync(join(directory, "planner.db"));
  db.exec("DROP TABLE links; PRAGMA user_version = 1");
  db.close();
  for (let turn = 0; turn < 2; turn++) {
    const store = openStore(directory);
    expect(store.migrations.get(idOf(1))).toEqual(record(1));
    store.links.put("a", "b", { bytesPerSecond: 1, measuredAt: turn });
    expect(store.links.find("a", "b")?.measuredAt).toBe(turn);
    store.close();
  }
});

test("only its owner can read it", () => {
  const store = openStore(join(directory, "state"));
  store.nodes.put({ name: "a", agent: { url: "http://10.0.0.1:7400", token: "0123456789abcdef" } });
  expect(statSync(join(directory, "state")).mode & 0o777).toBe(0o700);
  for (const file of ["planner.db", "planner.db-wal"])
    expect(statSync(join(directory, "state", file)).mode & 0o777).toBe(0o600);
  store.close();
});

test("unfinished migrations come oldest first, the list newest first", () => {
  const store = openStore(directory);
  for (const [n, phase] of [
    [3, "draining"],
    [1, "committed"],
    [2, "resuming"],
  ] as const)
    store.migrations.save(record(n, phase), []);
  expect(store.migrations.unfinished().map(({ migration }) => migration.id)).toEqual([idOf(3), idOf(2)]);
  expect(store.migrations.list(2).map(({ id }) => id)).toEqual([idOf(2), idOf(1)]);
  store.migrations.save(record(3, "committed"), []);
  expect(store.migrations.unfinished().map(({ migration }) => migration.id)).toEqual([idOf(2)]);
  store.close();
});

test("of progress only the latest is kept", () => {
  const store = openStore(directory);
  store.migrations.save(record(1), [event(1, 1), event(1, 2, "progress"), event(1, 3, "progress")]);
  store.migrations.save(record(1), [event(1, 4, "stage"), event(1, 5, "progress")]);
  expect(store.migrations.events(idOf(1), 0, 10).map(({ seq }) => seq)).toEqual([1, 4, 5]);
  store.close();
});

test("old finished migrations go, with their events; unfinished ones stay", () => {
  const store = openStore(directory);
  store.migrations.save(record(0), [event(0, 1)]);
  for (let n = 1; n <= 1003; n++) store.migrations.save(record(n, "committed"), [event(n, 1)]);
  expect(store.migrations.get(idOf(0))).toBeDefined();
  expect(store.migrations.get(idOf(3))).toBeUndefined();
  expect(store.migrations.events(idOf(3), 0, 10)).toEqual([]);
  expect(store.migrations.get(idOf(4))).toBeDefined();
  store.close();
});

test("a write that fails changes nothing", () => {
  const store = openStore(directory);
  store.migrations.save(record(1), [event(1, 1)]);
  expect(() => store.migrations.save(record(1, "committed"), [event(1, 2), event(1, 1)])).toThrow(/planner\.db/);
  expect(store.migrations.get(idOf(1))).toEqual(record(1));
  expect(store.migrations.lastSeq(idOf(1))).toBe(1);
  store.close();
});

test("a second planner is refused", () => {
  const store = openStore(directory);
  expect(() => openStore(directory)).toThrow(/another planner/);
  store.close();
  openStore(directory).close();
});

test("another version's file is refused", () => {
  openStore(directory).close();
  const db = new DatabaseSync(join(directory, "planner.db"));
  db.exec("PRAGMA user_version = 99");
  db.close();
  expect(() => openStore(directory)).toThrow(/another version/);
});

test("a file that is none of ours, and a directory that cannot be one, are named", () => {
  writeFileSync(
    join(directory, "planner.db"),
    "this is a diary, not a data base, and long enough to have a header of its own",
  );
  expect(() => openStore(directory)).toThrow(/planner\.db.*damaged/);
  writeFileSync(join(directory, "file"), "");
  expect(() => openStore(join(directory, "file", "state"))).toThrow(/planner\.db/);
});
