import { beforeEach, expect, test } from "vitest";
import type { Engine, SeenContainer } from "../../../services/restorer/adapters/engine.ts";
import { finishRestore } from "../../../services/restorer/finish-restore.ts";
import { newSession, type RestorerDeps, type Session } from "../../../services/restorer/session.ts";
import { rollBackUnknown } from "../../../services/restorer/without-journal.ts";
import { createLog } from "../../../services/shared/log.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const migrationId = "m-0123456789abcdef";
const containerId = "ab".repeat(32);
const always = { Name: "always", MaximumRetryCount: 0 };

let seen: SeenContainer | undefined;
let stopped: boolean;
let startFails: boolean;
let done: string[];
let deps: RestorerDeps;

beforeEach(() => {
  seen = { running: false, pid: 0, name: "db", hasStarted: true, exitCode: 1, oomKilled: false };
  stopped = false;
  startFails = false;
  done = [];
  const act = (what: string): Promise<void> => {
    done.push(what);
    return Promise.resolve();
  };
  const engine: Partial<Engine> = {
    container: () => Promise.resolve(seen),
    containers: () => Promise.resolve([{ id: "old", name: `db.before-${migrationId}` }] as never),
    endOf: () => Promise.resolve({ stopped, exitCode: 1 }),
    setRestartPolicy: (_id, { Name }) => act(`policy ${Name}`),
    startContainer: () => act("start").then(() => (startFails ? Promise.reject(new Error("port taken")) : undefined)),
    removeContainer: () => act("remove").then(() => true),
    renameContainer: (id, name) => act(`rename ${id} ${name}`),
  };
  deps = {
    engine: engine as Engine,
    journal: { write: () => undefined, remove: () => undefined, readAll: () => [] },
    rcu: { before: () => undefined, on: () => true, off: () => undefined },
    stateDir: temporaryDirectory("finish-"),
    log: createLog("restorer", "silent"),
    limits: { warmStartMs: 100, resumeMs: 100, cleanUpMs: 100 },
  };
});

const resumed = (autoRemove = false): Session =>
  newSession({
    ...{ migrationId, containerId, name: "db", state: "resumed", resumedAt: Date.now(), autoRemove },
    ...{ createdVolumes: [], filledBinds: [] },
  });

test("a container that has ended since its resume is started where its policy says so", async () => {
  await finishRestore(deps, resumed(), always);
  expect(done).toEqual(["policy always", "start"]);
});

test("one that cannot be started is finished all the same", async () => {
  startFails = true;
  const session = resumed();
  await finishRestore(deps, session, always);
  expect(session.record.state).toBe("finished");
});

test.each<[string, () => void, string[]]>([
  ["runs", () => Object.assign(seen ?? {}, { running: true }), ["policy on-failure"]],
  ["has done its work", () => Object.assign(seen ?? {}, { exitCode: 0 }), ["policy on-failure"]],
  ["was stopped by somebody", () => (stopped = true), ["policy on-failure"]],
  ["was removed", () => (seen = undefined), []],
])("it is not started when it %s", async (_what, change, expected) => {
  change();
  await finishRestore(deps, resumed(), { Name: "on-failure", MaximumRetryCount: 3 });
  expect(done).toEqual(expected);
});

test("without a policy, and with --rm, nothing is done", async () => {
  await finishRestore(deps, resumed(), { Name: "no", MaximumRetryCount: 0 });
  await finishRestore(deps, resumed(true), always);
  expect(done).toEqual([]);
});

test("after a restart of the node a container that never ran is removed, and the leftover has its name again", async () => {
  Object.assign(seen ?? {}, { hasStarted: false });
  expect(await rollBackUnknown(deps, migrationId, containerId)).toBe(true);
  expect(done).toEqual(["remove", "rename old db"]);
});

test("a roll back that did not get to the leftover is repeated, and one with nothing to do says so", async () => {
  seen = undefined;
  expect(await rollBackUnknown(deps, migrationId, containerId)).toBe(true);
  expect(done).toEqual(["rename old db"]);
  deps.engine.containers = () => Promise.resolve([]);
  expect(await rollBackUnknown(deps, migrationId, containerId)).toBe(false);
});

test("one that has run is not", async () => {
  await expect(rollBackUnknown(deps, migrationId, containerId)).rejects.toMatchObject({
    code: "conflict",
    reasons: [{ code: "has-run" }],
  });
  expect(done).toEqual([]);
});
