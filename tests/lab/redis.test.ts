import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { execIn, readNodeState, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { RedisData } from "../helpers/redis-data.ts";
import { startRedis } from "../helpers/workloads.ts";
import { WriteLoad } from "../helpers/write-load.ts";

const port = 6379;
const megabytes = 32;

describe("a Redis under a write load", () => {
  const { nodes, planner } = connectLab();
  const { a, b } = nodes;
  const user = new PlannerUser(planner);
  const data = new RedisData(megabytes);
  const load = new WriteLoad(
    [a, b].map(({ ip }) => ({ host: ip, port })),
    200,
  );

  beforeAll(async () => {
    await startRedis(a, "redis", port, { RestartPolicy: { Name: "unless-stopped" }, Memory: 512 << 20 });
    await data.fill(a.ip, port);
    load.start();
  });

  afterAll(async () => {
    await load.stop();
    await removeContainers([a, b]);
  });

  it("moves from a to b with every key and every acknowledged write", async () => {
    const before = await a.docker.getContainer("redis").inspect();
    const migration = await user.migrate({ container: "redis", from: "a", to: "b" });
    expect(await data.countWrong(b.ip, port)).toBe(0);
    expect(await load.countLost({ host: b.ip, port })).toBe(0);

    expect(migration.pagesTotal).toBeGreaterThan((megabytes * 1_000_000) / 4096);
    expect(migration.pagesFaulted + migration.pagesPrefetched).toBeGreaterThan(0);
    expect(migration.bytesSent).toBeGreaterThan(megabytes * 1_000_000);
    expect(migration.downtimeMs).toBeGreaterThan(0);
    expect(migration.downtimeMs).toBeLessThan(migration.totalMs ?? 0);

    const after = await b.docker.getContainer("redis").inspect();
    expect(after.State.Running).toBe(true);
    expect(after.Config.Cmd).toEqual(before.Config.Cmd);
    expect(after.Config.Hostname).toBe(before.Config.Hostname);
    expect(after.HostConfig.Memory).toBe(before.HostConfig.Memory);
    expect(after.HostConfig.RestartPolicy?.Name).toBe("unless-stopped");
    expect(after.HostConfig.PortBindings).toEqual(before.HostConfig.PortBindings);
  });

  it("leaves the source stopped, so that it can never run twice", async () => {
    const source = await a.docker.getContainer("redis").inspect();
    expect(source.State.Running).toBe(false);
    expect(source.HostConfig.RestartPolicy?.Name).toMatch(/^(no)?$/);
    for (const node of [a, b]) {
      const state = await readNodeState(node);
      expect(state).toMatchObject({ stateFiles: [], criuProcesses: [], frozenCgroups: [] });
    }
  });

  it("is Docker's own on the destination: control groups, exec, pause, update, restart", async () => {
    const container = b.docker.getContainer("redis");
    const { Id, State } = await container.inspect();
    const { stdout } = await b.exec(["cat", `/proc/${State.Pid}/cgroup`]);
    expect(stdout).toContain(Id);
    expect(stdout).not.toContain((await a.docker.getContainer("redis").inspect()).Id);
    expect(await execIn(container, ["redis-cli", "ping"])).toContain("PONG");
    await container.pause();
    await container.unpause();
    await container.update({ Memory: 600 << 20, MemorySwap: 1200 << 20 });
    expect(await execIn(container, ["redis-cli", "dbsize"])).toMatch(/\d{4,}/);
  });

  it("moves back from b to a, in place of the stopped one there", async () => {
    await user.migrate({ container: "redis", from: "b", to: "a", mode: "hybrid" });
    await load.stop();
    expect(await data.countWrong(a.ip, port)).toBe(0);
    expect(load.acknowledgedCount).toBeGreaterThan(100);
    expect(await load.countLost({ host: a.ip, port })).toBe(0);
    const containers = await a.docker.listContainers({ all: true });
    expect(containers.map(({ Names, State }) => [Names, State])).toEqual([[["/redis"], "running"]]);
  });

  it("starts fresh when it is restarted by hand", async () => {
    await a.docker.getContainer("redis").restart({ t: 1 });
    expect(await execIn(a.docker.getContainer("redis"), ["redis-cli", "dbsize"])).toContain("0");
  });
});
