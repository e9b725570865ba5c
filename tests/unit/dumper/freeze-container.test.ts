/** What is not frozen by us is not ours to thaw. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { abortCheckpoint, putBack } from "../../../services/dumper/abort-checkpoint.ts";
import type { CheckpointDeps, HeldCheckpoint } from "../../../services/dumper/checkpoint.ts";
import { freezeContainer } from "../../../services/dumper/freeze-container.ts";
import type { FreezerState } from "../../../services/shared/adapters/cgroup.ts";
import { createLog } from "../../../services/shared/log.ts";
import { migrationPaths } from "../../../services/shared/node-paths.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const migrationId = "m-0123456789abcdef";
const containerId = "ab".repeat(32);

/** A checkpoint that is ready, and what is done to its container. */
function setUp(
  state: FreezerState,
  { running = true, policy = "always" } = {},
): { held: HeldCheckpoint; deps: CheckpointDeps; done: string[] } {
  const done: string[] = [];
  const stateDir = temporaryDirectory("freeze-");
  const freezer = {
    state: () => state,
    freeze: () => {
      done.push("freeze");
      return Promise.reject(new Error("it takes too long"));
    },
    thaw: () => done.push("thaw"),
    processes: () => [],
  };
  const engine = {
    setRestartPolicy: (_id: string, { Name }: { Name: string }) => {
      done.push(`restart policy ${Name}`);
      return Promise.resolve();
    },
    inspect: () =>
      Promise.resolve({
        State: { Running: running, ExitCode: 137 },
        HostConfig: { RestartPolicy: { Name: policy, MaximumRetryCount: 0 } },
      }),
    wasStopped: () => Promise.resolve(false),
    start: () => {
      done.push("start");
      return Promise.resolve();
    },
  };
  const held = {
    record: {
      ...{ migrationId, containerId, state: "ready", freezer: { version: "v2", dir: "/nowhere" }, initPid: 1 },
      ...{ restartPolicy: { Name: "always", MaximumRetryCount: 0 }, processes: [], frozenAt: 0 },
    },
    ...{
      name: "web",
      freezer,
      paths: migrationPaths(stateDir, migrationId),
      prepared: { end: () => Promise.resolve() },
    },
  };
  const records = { write: () => undefined, logOf: () => join(stateDir, "log") };
  return {
    held: held as unknown as HeldCheckpoint,
    deps: { engine, records, log: createLog("test", "silent") } as unknown as CheckpointDeps,
    done,
  };
}

test("a container that somebody pauses before the freeze is neither frozen, nor thawed when that is given up", async () => {
  const { held, deps, done } = setUp("frozen");
  await expect(freezeContainer(deps, held)).rejects.toMatchObject({
    code: "conflict",
    message: expect.stringContaining("web is frozen by something else") as string,
  });
  expect(held.record.state).toBe("ready");
  await abortCheckpoint(deps, held);
  expect(held.record.state).toBe("aborted");
  expect(done).toEqual([]);
});

test("a freeze that has begun is undone, whatever came of it", async () => {
  const { held, deps, done } = setUp("thawed");
  await expect(freezeContainer(deps, held)).rejects.toThrow("too long");
  expect(held.record.state).toBe("frozen");
  await abortCheckpoint(deps, held);
  expect(held.record.state).toBe("aborted");
  expect(done).toEqual(["restart policy no", "freeze", "thaw", "restart policy always"]);
});

test("a container that has ended meanwhile, as with a restart of Docker, is started as its policy says", async () => {
  const { held, deps, done } = setUp("thawed", { running: false });
  await expect(freezeContainer(deps, held)).rejects.toThrow("too long");
  await abortCheckpoint(deps, held);
  expect(done.slice(-2)).toEqual(["restart policy always", "start"]);
});

const before = { containerId, restartPolicy: { Name: "always", MaximumRetryCount: 0 } };

test("on a node that was restarted in the freeze the container gets its policy back, and is started", async () => {
  const { deps, done } = setUp("thawed", { running: false, policy: "no" });
  await putBack(deps, migrationId, before);
  // The policy last: until then it may be tried again.
  expect(done).toEqual(["start", "restart policy always"]);
});

test("on a node that was never asked for a freeze nothing is done", async () => {
  const { deps, done } = setUp("thawed", { running: false });
  await putBack(deps, migrationId, before);
  await putBack(deps, migrationId, { ...before, restartPolicy: { Name: "no", MaximumRetryCount: 0 } });
  expect(done).toEqual([]);
});
