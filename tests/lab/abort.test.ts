import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Migration } from "../../services/shared/contracts/planner.ts";
import { connectLab } from "../helpers/lab/connect.ts";
import { readNodeState, removeContainers, type NodeState } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { RedisData } from "../helpers/redis-data.ts";
import { startRedis } from "../helpers/workloads.ts";
import { WriteLoad } from "../helpers/write-load.ts";

const port = 6379;
const request = { container: "steady", from: "a", to: "b" } as const;

describe("a migration that does not come to its end", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);
  const data = new RedisData(16);
  let load: WriteLoad;
  let before: NodeState[];

  const stateOfBoth = (): Promise<NodeState[]> => Promise.all([a, b].map(readNodeState));

  beforeAll(async () => {
    await startRedis(a, "steady", port, { RestartPolicy: { Name: "always" } });
    await data.fill(a.ip, port);
  });

  beforeEach(async () => {
    before = await stateOfBoth();
    load = new WriteLoad([{ host: a.ip, port }], 100);
    load.start();
  });

  /** Whatever happened: the source ran on as if nothing had, and nothing of the attempt is left on either node. */
  afterEach(async () => {
    await pollUntil("both nodes to be as before", 20_000, async () =>
      JSON.stringify(await stateOfBoth()) === JSON.stringify(before) ? true : undefined,
    ).catch(async () => expect(await stateOfBoth()).toEqual(before));
    const acknowledged = load.acknowledgedCount;
    await pollUntil("further writes", 5_000, () =>
      Promise.resolve(load.acknowledgedCount > acknowledged ? true : undefined),
    );
    await load.stop();
    expect(await data.countWrong(a.ip, port)).toBe(0);
    expect(await load.countLost({ host: a.ip, port })).toBe(0);
    expect((await a.docker.getContainer("steady").inspect()).HostConfig.RestartPolicy?.Name).toBe("always");
  });

  afterAll(() => removeContainers([a, b]));

  /** Waits until the migration is in the phase or past it. */
  const reaches = (id: string, phase: Migration["phase"]): Promise<Migration> =>
    pollUntil(`phase ${phase}`, 30_000, async () => {
      const migration = await user.get(id);
      return migration.phase === phase || migration.stages.some(({ name }) => name === phase) ? migration : undefined;
    });

  it("rolls back when the restore fails, and gives CRIU's reason", async () => {
    // A CRIU that cannot restore: the images arrive, the wrapper is let go, runc fails.
    await b.exec([
      "sh",
      "-ec",
      `c=$(command -v criu); mv $c $c.real; printf '#!/bin/sh\\n[ "$1" != swrk ] || exit 1\\nexec %s.real "$@"\\n' $c >$c; chmod +x $c`,
    ]);
    try {
      const migration = await user.waitForEnd((await user.post(request)).id);
      expect(migration.phase).toBe("aborted");
      expect(migration.error?.code).toBe("restore-failed");
    } finally {
      await b.exec(["sh", "-ec", "c=$(command -v criu); mv $c.real $c"]);
    }
  });

  it("rolls back when it is cancelled", async () => {
    const { id } = await user.post(request);
    await reaches(id, "preparing");
    await user.cancel(id);
    const migration = await user.waitForEnd(id);
    expect(migration.phase).toBe("aborted");
    expect(migration.error?.code).toBe("cancelled");
  });

  it("rolls back when the destination's agent is killed", async () => {
    const { id } = await user.post(request);
    await reaches(id, "preparing");
    await b.killAgent();
    const migration = await user.waitForEnd(id);
    expect(migration.phase).toBe("aborted");
    await b.waitUntilReady();
  });

  it("rolls back when the source's agent is killed", async () => {
    const { id } = await user.post(request);
    await reaches(id, "preparing");
    await a.killAgent();
    const migration = await user.waitForEnd(id);
    expect(migration.phase).toBe("aborted");
    await a.waitUntilReady();
  });

  it("is rolled back by the next planner when the planner is killed", async () => {
    const { id } = await user.post(request);
    await reaches(id, "preparing");
    await lab.restartPlanner();
    const migration = await user.waitForEnd(id);
    expect(migration.phase).toBe("aborted");
  });
});
