import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import { prepareRestore } from "../../../services/restorer/prepare-restore.ts";
import { newSession, type RestorerDeps } from "../../../services/restorer/session.ts";
import type { CreateRestore } from "../../../services/shared/contracts/restorer.ts";
import { createLog } from "../../../services/shared/log.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const migrationId = "m-0123456789abcdef";
const imageId = `sha256:${"1".repeat(64)}`;
const unmet: unknown[] = [];
const note = (reason: unknown): void => void unmet.push(reason);

beforeEach(() => {
  unmet.length = 0;
  process.on("unhandledRejection", note);
});
afterEach(() => void process.off("unhandledRejection", note));

test("a start that fails at once, while Docker is slow to say what it is, is a failure of the restore alone", async () => {
  const engine: Partial<Engine> = {
    directories: () => Promise.resolve({ root: "/", layers: "/" }),
    info: () =>
      Promise.resolve({
        version: "27.0.0",
        runtimes: ["dmigrate"],
        seccomp: true,
        cpus: 2,
        cgroupDriver: "cgroupfs",
        cgroupVersion: "1",
        lackingLimits: [],
      }),
    containers: () => Promise.resolve([]),
    networks: () => Promise.resolve(new Map()),
    imageId: () => Promise.resolve(imageId),
    createContainer: () => Promise.resolve("2".repeat(64)),
    places: () => Promise.resolve({ layer: undefined, log: undefined }),
    attachesByHook: () => sleep(50, false),
    startContainer: () => Promise.reject(new Error("no such device")),
  };
  const deps: RestorerDeps = {
    engine: engine as Engine,
    journal: { write: () => undefined, remove: () => undefined, readAll: () => [] },
    rcu: { before: () => undefined, on: () => false, off: () => undefined },
    stateDir: temporaryDirectory("prepare-restore-"),
    log: createLog("restorer", "silent"),
    limits: { warmStartMs: 2_000, resumeMs: 100, cleanUpMs: 100 },
  };
  const session = newSession({
    migrationId,
    name: "db",
    state: "preparing",
    createdVolumes: [],
    filledBinds: [],
    autoRemove: false,
  });
  const container = { name: "db", imageId, imageRef: "", config: {}, hostConfig: {}, volumes: [], networks: [] };
  const request: CreateRestore = { migrationId, container, moveBinds: [] };
  await expect(prepareRestore(deps, session, request)).rejects.toThrow("no such device");
  session.cancelled.abort();
  session.gate?.close();
  await sleep(10);
  expect(unmet).toEqual([]);
});
