import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import { rollBack } from "../../../services/restorer/roll-back.ts";
import { newSession, type RestorerDeps } from "../../../services/restorer/session.ts";
import { createLog } from "../../../services/shared/log.ts";
import { migrationPaths } from "../../../services/shared/node-paths.ts";

const migrationId = "m-0123456789abcdef";
let stateDir: string, deps: RestorerDeps;
let forgotten: string[];

beforeEach(async () => {
  forgotten = [];
  stateDir = await mkdtemp(join(tmpdir(), "roll-back-"));
  deps = {
    engine: {} as Engine,
    journal: { write: () => undefined, remove: (id) => forgotten.push(id), readAll: () => [] },
    rcu: { before: () => undefined, on: () => true, off: () => undefined },
    stateDir,
    log: createLog("restorer", "silent"),
    limits: { warmStartMs: 100, resumeMs: 100, cleanUpMs: 100 },
  };
  await mkdir(migrationPaths(stateDir, migrationId).workDir, { recursive: true });
});
afterEach(() => rm(stateDir, { recursive: true, force: true }));

/** The container was not created yet. */
const session = () =>
  newSession({ migrationId, name: "db", state: "preparing", createdVolumes: [], filledBinds: [], autoRemove: false });

test("a restore that had the migration's directory to itself leaves none of it", async () => {
  await rollBack(deps, session(), "cancelled");
  expect(existsSync(migrationPaths(stateDir, migrationId).dir)).toBe(false);
  expect(forgotten).toEqual([migrationId]);
});

test("the word that its files were mounted goes too", async () => {
  const { mountedMark, dir } = migrationPaths(stateDir, migrationId);
  await writeFile(mountedMark, "");
  await rollBack(deps, session(), "cancelled");
  expect(existsSync(dir)).toBe(false);
});

test("what the pager has there is the pager's", async () => {
  const socket = join(migrationPaths(stateDir, migrationId).workDir, "agent.socket");
  await writeFile(socket, "");
  await rollBack(deps, session(), "cancelled");
  expect(existsSync(socket)).toBe(true);
});
