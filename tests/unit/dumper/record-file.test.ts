import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openRecordFiles } from "../../../services/dumper/adapters/record-file.ts";
import type { CheckpointRecord } from "../../../services/dumper/core/checkpoint-record.ts";
import { createLog } from "../../../services/shared/log.ts";

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
  it("leaves broken and foreign files alone", () => {
    const files = open();
    files.write(record);
    const broken = join(stateDir, "checkpoints", "m-00000000000000ff.json");
    writeFileSync(broken, "{");
    writeFileSync(join(stateDir, "checkpoints", "README"), "");
    expect(files.readAll()).toEqual([record]);
    expect(existsSync(broken)).toBe(true);
  });
  it("removes a record with its log, also when it is gone", () => {
    const files = open();
    files.write(record);
    writeFileSync(files.logOf(record.migrationId), "Error");
    files.remove(record.migrationId);
    files.remove(record.migrationId);
    expect(readdirSync(join(stateDir, "checkpoints"))).toEqual([]);
  });
});
