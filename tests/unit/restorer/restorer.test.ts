import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import type { RestoreRecord } from "../../../services/restorer/core/record.ts";
import { createRestores } from "../../../services/restorer/restorer.ts";
import type { RestorerDeps } from "../../../services/restorer/session.ts";
import { createLog } from "../../../services/shared/log.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

let kept: Map<string, RestoreRecord>;
let present: Set<string>;
let removedVolumes: string[];
let deps: RestorerDeps;

const idOf = (at: number): string => `m-${at.toString(16).padStart(16, "0")}`;
const containerOf = (at: number): string => at.toString(16).padStart(64, "0");

beforeEach(() => {
  kept = new Map();
  present = new Set();
  removedVolumes = [];
  const engine: Pick<Engine, "container" | "removeVolume"> = {
    container: (id) =>
      Promise.resolve(present.has(id) ? { id, name: "db", running: true, labels: {} } : undefined) as never,
    removeVolume: (name) => {
      removedVolumes.push(name);
      return Promise.resolve(true);
    },
  };
  deps = {
    engine: engine as Engine,
    journal: {
      write: (record) => void kept.set(record.migrationId, record),
      remove: (id) => void kept.delete(id),
      readAll: () => [...kept.values()],
    },
    rcu: { before: () => undefined, on: () => true, off: () => undefined },
    stateDir: temporaryDirectory("restorer-"),
    log: createLog("restorer", "silent"),
    limits: { warmStartMs: 100, resumeMs: 100, cleanUpMs: 100 },
  };
});

const remember = (at: number, state: RestoreRecord["state"], more: Partial<RestoreRecord> = {}): void => {
  const none = { createdVolumes: [], filledBinds: [], autoRemove: false };
  kept.set(idOf(at), { ...none, migrationId: idOf(at), name: "db", state, ...more });
};

test("of restores that failed, or whose container is gone, a hundred are remembered, the others undone but for data", async () => {
  const bound = join(deps.stateDir, "bound");
  mkdirSync(bound);
  remember(0, "failed", { createdVolumes: ["data"], filledBinds: [{ path: bound, made: bound }] });
  // Of a container that has come since.
  writeFileSync(join(bound, "database"), "in use");
  remember(1, "resumed", { containerId: containerOf(1) });
  remember(2, "resumed", { containerId: containerOf(2) });
  present.add(containerOf(2));
  for (let at = 3; at < 103; at++) remember(at, "failed");
  const restores = createRestores(deps);
  // What the next one is to be is not said, so it fails.
  await expect(restores.create({ migrationId: idOf(200) } as never)).rejects.toThrow();
  await expect.poll(() => kept.size).toBe(101);
  expect(removedVolumes).toEqual([]);
  expect(readFileSync(join(bound, "database"), "utf8")).toBe("in use");
  expect([...kept.keys()].slice(0, 2)).toEqual([idOf(2), idOf(3)]);
});
