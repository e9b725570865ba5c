/** What becomes of a restore that was let go, when runc, Docker and the restorer do not agree. */
import { writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import type { Gate } from "../../../services/restorer/adapters/gate.ts";
import type { RestoreRecord } from "../../../services/restorer/core/record.ts";
import { recoverRestore } from "../../../services/restorer/recover.ts";
import { resumeRestore } from "../../../services/restorer/resume-restore.ts";
import { newSession, type RestorerDeps, type Session, type StartOutcome } from "../../../services/restorer/session.ts";
import { DmigrateError } from "../../../services/shared/errors.ts";
import { createLog } from "../../../services/shared/log.ts";
import { migrationPaths, restoreSpecDir } from "../../../services/shared/node-paths.ts";

const migrationId = "m-0123456789abcdef";
const containerId = "d".repeat(64);
const removeContainer = vi.fn(() => Promise.resolve(true));
const rcuOff = vi.fn();
let stateDir: string, deps: RestorerDeps;

beforeEach(async () => {
  vi.clearAllMocks();
  stateDir = await mkdtemp(join(tmpdir(), "resume-"));
  await mkdir(restoreSpecDir(stateDir, containerId), { recursive: true });
  const { imagesDir } = migrationPaths(stateDir, migrationId);
  await mkdir(imagesDir, { recursive: true });
  await mkdir(join(stateDir, "gate"));
  // The ids of a root task without a network namespace of its own.
  await writeFile(
    join(imagesDir, "ids-1.img"),
    Buffer.from([0x19, 0x43, 0x56, 0x54, 0x30, 0x20, 0x43, 0x54, 2, 0, 0, 0, 8, 1]),
  );
  await writeFile(join(imagesDir, "descriptors.json"), "[]");
  deps = {
    engine: { removeContainer } as unknown as Engine,
    journal: { write: () => undefined, remove: () => undefined, readAll: () => [] },
    rcu: { before: () => "0", on: () => true, off: rcuOff },
    stateDir,
    log: createLog("restorer", "silent"),
    limits: { warmStartMs: 100, resumeMs: 100, cleanUpMs: 100 },
  };
});
afterEach(() => rm(stateDir, { recursive: true, force: true }));

const status = (code: number): void =>
  writeFileSync(join(restoreSpecDir(stateDir, containerId), "status"), `${code}\n`);

const nothing = (): void => undefined;
function session(state: RestoreRecord["state"], started: Promise<StartOutcome>, stop = nothing): Session {
  const gate = { imagesDir: join(stateDir, "gate"), release: nothing, stop, close: nothing };
  const record = { migrationId, name: "db", state, containerId, rcuBefore: "0" };
  return {
    ...newSession({ ...record, createdVolumes: [], filledBinds: [], autoRemove: false }),
    gate: gate as unknown as Gate,
    started,
  };
}
const ended: StartOutcome = { ok: false, error: new DmigrateError("internal", "it has exited") };

test.each([
  ["Docker's start failed", Promise.resolve(ended)],
  ["Docker does not answer", new Promise<never>(() => undefined)],
])("once runc has restored, it is resumed: %s", async (_why, started) => {
  const restore = session("waiting", started);
  status(0);
  await resumeRestore(deps, restore);
  expect(restore.record).toMatchObject({ state: "resumed", error: undefined });
  expect(removeContainer).not.toHaveBeenCalled();
});

test("runc that restores while the restore is being given up has restored", async () => {
  const restore = session("waiting", Promise.resolve(ended), () => status(0));
  await resumeRestore(deps, restore);
  expect(restore.record).toMatchObject({ state: "resumed", error: undefined });
  expect(removeContainer).not.toHaveBeenCalled();
});

test.each([
  ["runc failed", 1],
  ["runc was not asked", undefined],
])("without runc's word nothing of the container stays: %s", async (_why, code) => {
  const restore = session("waiting", Promise.resolve({ ok: true }));
  if (code !== undefined) status(code);
  await expect(resumeRestore(deps, restore)).rejects.toMatchObject({ code: "restore-failed" });
  expect(restore.record.state).toBe("failed");
  expect(removeContainer).toHaveBeenCalledOnce();
});

test.each([
  [0, "resumed"],
  [1, "failed"],
  [undefined, "failed"],
])("after a restart runc's exit code %s means %s", async (code, state) => {
  const restore = newSession(session("resuming", Promise.resolve(ended)).record);
  if (code !== undefined) status(code);
  await recoverRestore(deps, restore);
  expect(restore.record.state).toBe(state);
  expect(rcuOff).toHaveBeenCalledWith("0");
});

test("RCU is as it was when a restore cannot be settled", async () => {
  removeContainer.mockRejectedValueOnce(new Error("Docker is away"));
  const restore = newSession(session("resuming", Promise.resolve(ended)).record);
  status(1);
  await expect(recoverRestore(deps, restore)).rejects.toMatchObject({ code: "unavailable" });
  expect(restore.record.state).toBe("resuming");
  expect(rcuOff).toHaveBeenCalledWith("0");
});
