import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openRecordFiles } from "../../../services/dumper/adapters/record-file.ts";
import type { CheckpointRecord } from "../../../services/dumper/core/checkpoint-record.ts";
import { createLog } from "../../../services/shared/log.ts";
import { migrationPaths } from "../../../services/shared/node-paths.ts";

const record: CheckpointRecord = {
  migrationId: "m-0123456789abcdef",
  containerId: "ab".repeat(32),
  state: "sealed",
  freezer: { version: 2, dir: "/sys/fs/cgroup/x" },
  initPid: 42,
  restartPolicy: { Name: "unless-stopped", MaximumRetryCount: 0 },
  processes: [{ pid: 1, hostPid: 42 }],
  frozenAt: 1,
};
let stateDir: string;
beforeEach(() => void (stateDir = mkdtempSync(join(tmpdir(), "records-"))));
afterEach(() => rmSync(stateDir, { recursive: true }));
const open = () => openRecordFiles(stateDir, createLog("test", "silent"));

describe("record files", () => {
  it("has none in a new state directory", () => {
    rmSync(stateDir, { recursive: true });
    expect(open().readAll()).toEqual([]);
    mkdirSync(stateDir);
  });
  it("reads back what an earlier dumper wrote last", () => {
    open().write({ ...record, state: "frozen" });
    open().write(record);
    expect(open().readAll()).toEqual([record]);
  });
  it("leaves other directories and broken files alone", () => {
    const files = open();
    files.write(record);
    mkdirSync(join(stateDir, "migrations", "other"));
    const broken = migrationPaths(stateDir, "m-00000000000000ff").dir;
    mkdirSync(broken);
    writeFileSync(join(broken, "checkpoint.json"), "{");
    expect(files.readAll()).toEqual([record]);
    expect(readdirSync(broken)).toEqual(["checkpoint.json"]);
  });
  it("removes the migration's directory only when it is empty", () => {
    const files = open();
    files.write(record);
    const { dir } = migrationPaths(stateDir, record.migrationId);
    writeFileSync(join(dir, "foreign"), "");
    files.remove(record.migrationId);
    expect(readdirSync(dir)).toEqual(["foreign"]);
    rmSync(join(dir, "foreign"));
    files.remove(record.migrationId);
    files.remove(record.migrationId);
    expect(readdirSync(join(stateDir, "migrations"))).toEqual([]);
  });
});
