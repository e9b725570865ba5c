/**
 * What may go wrong while the container runs at the destination already, on memory that only the source has. The link is
 * slowed down so that a drain takes seconds.
 */
import { z } from "zod";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createClient } from "../../services/shared/client.ts";
import { checkpointSchema } from "../../services/shared/contracts/dumper.ts";
import type { Migration } from "../../services/shared/contracts/planner.ts";
import { connectLab } from "../helpers/lab/connect.ts";
import type { LabNode } from "../helpers/lab/lab.ts";
import { readNodeState, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { RedisData } from "../helpers/redis-data.ts";
import { startRedis } from "../helpers/workloads.ts";
import { WriteLoad } from "../helpers/write-load.ts";

const port = 6379;
const name = "drained";
const megabytes = 64;

describe("a drain that is disturbed", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);
  const data = new RedisData(megabytes);

  beforeAll(async () => {
    await lab.loadWorkload(b);
    await startRedis(a, name, port);
    await data.fill(a.ip, port);
  });
  beforeEach(() => Promise.all([slowDown(a), slowDown(b)]));
  afterEach(() => Promise.all([a, b].flatMap((node) => [heal(node), speedUp(node)])));
  afterAll(() => removeContainers([a, b]));

  /** Begins a migration, and resolves when about a quarter of the memory has followed. */
  const drainFrom = async (from: "a" | "b"): Promise<Migration> => {
    const { id } = await user.post({ container: name, from, to: from === "a" ? "b" : "a" });
    return pollUntil("a drain under way", 60_000, async () => {
      const migration = await user.get(id);
      if (migration.error !== undefined) throw new Error(migration.error.message);
      const there = migration.pagesFaulted + migration.pagesPrefetched;
      return migration.phase === "draining" && there > migration.pagesTotal / 4 ? migration : undefined;
    });
  };

  /** The migration commits in the end; nothing is lost, nothing is left behind. */
  const expectCommitted = async ({ id }: Migration, to: LabNode): Promise<void> => {
    const { phase, error } = await user.waitForEnd(id);
    expect({ phase, error }).toEqual({ phase: "committed", error: undefined });
    await Promise.all([speedUp(a), speedUp(b)]);
    expect(await data.countWrong(to.ip, port)).toBe(0);
    for (const node of [a, b])
      expect(await readNodeState(node)).toMatchObject({ stateFiles: [], criuProcesses: [], frozenCgroups: [] });
  };

  it("goes on when the link is back", async () => {
    const load = new WriteLoad(
      [a, b].map(({ ip }) => ({ host: ip, port })),
      50,
    );
    load.start();
    const migration = await drainFrom("a");
    await cut(a, "REJECT --reject-with tcp-reset");
    const before = await progressOf(user, migration);
    await sleep(1_500);
    const during = await progressOf(user, migration);
    await sleep(500);
    expect(await progressOf(user, migration)).toEqual(during);
    expect(during.there).toBeLessThan(during.total);
    expect(during.there).toBeGreaterThanOrEqual(before.there);
    // Packets that vanish instead: nobody is told that the link is gone.
    await heal(a);
    await cut(a, "DROP");
    await sleep(1_000);
    await heal(a);
    await expectCommitted(migration, b);
    await load.stop();
    expect(await load.countLost({ host: b.ip, port })).toBe(0);
  });

  it("goes on when the destination's agent is killed", async () => {
    const migration = await drainFrom("b");
    await a.killAgent();
    await expectCommitted(migration, a);
    expect(await a.logs()).toContain("taking over a pager of an earlier run");
  });

  it("goes on when the source's agent is killed", async () => {
    const migration = await drainFrom("a");
    await a.killAgent();
    await expectCommitted(migration, b);
    expect(await a.logs()).toContain("serving the frozen memory of an earlier run");
  });

  it("ends with a way back when the page daemon is killed", async () => {
    const { id } = await drainFrom("b");
    await a.exec(["pkill", "-KILL", "-f", "page-daemon/main.ts"]);
    const { phase, error } = await user.waitForEnd(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("the page daemon ended with signal SIGKILL; threads of the container");
    expect((await a.docker.getContainer(name).inspect()).State).toMatchObject({ Running: true, Paused: true });
    expect(error?.message).toContain("Node b: the source is still frozen as it was");
    const pager = createClient("the pager", a.agentUrl, a.token);
    await expect(pager.delete(`/pagers/${id}`, z.unknown())).rejects.toMatchObject({ code: "conflict" });
    await goBack(id);
    await pager.delete(`/pagers/${id}`, z.unknown());
    pager.close();
  });

  it("ends with a way back when the container dies", async () => {
    const { id } = await drainFrom("b");
    const { State } = await a.docker.getContainer(name).inspect();
    // As the kernel does it that is out of memory; Docker was not asked.
    await must(a, `kill -KILL ${State.Pid}`);
    const { phase, error } = await user.waitForEnd(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("exit code 137, before all of its memory was there");
    expect(error?.message).toContain("Node b: the source is still frozen as it was");
    await goBack(id);
  });

  it("is over when the container is stopped", async () => {
    const { id } = await drainFrom("b");
    await a.docker.getContainer(name).kill();
    const { phase, error } = await user.waitForEnd(id);
    expect({ phase, error }).toEqual({ phase: "committed", error: undefined });
  });

  /** From a to b: what the error of a failed migration says can be done. */
  async function goBack(id: string): Promise<void> {
    await speedUp(b);
    await a.docker.getContainer(name).remove({ force: true });
    const dumper = createClient("the dumper", b.agentUrl, b.token);
    await dumper.post(`/checkpoints/${id}/abort`, undefined, checkpointSchema);
    dumper.close();
    expect(await data.countWrong(b.ip, port)).toBe(0);
    // Records of a migration that has failed stay for whoever looks into it.
    await must(a, `rm -rf /run/dmigrate/migrations/${id} /run/dmigrate/containers/*`);
  }
});

async function progressOf(user: PlannerUser, { id }: Migration): Promise<{ there: number; total: number }> {
  const { pagesFaulted, pagesPrefetched, pagesTotal } = await user.get(id);
  return { there: pagesFaulted + pagesPrefetched, total: pagesTotal };
}

async function must(node: LabNode, command: string): Promise<void> {
  const { exitCode, stderr } = await node.exec(["sh", "-c", command]);
  if (exitCode !== 0) throw new Error(`${command} on node ${node.name}: ${stderr}`);
}

const slowDown = (node: LabNode): Promise<void> =>
  must(node, "tc qdisc replace dev eth0 root tbf rate 150mbit burst 256kb latency 50ms");
const speedUp = (node: LabNode): Promise<void> => must(node, "tc qdisc del dev eth0 root 2>/dev/null || :");
const chain = "DMIGRATE-TEST";
/** What comes for the node's data port meets `target`. */
const cut = (node: LabNode, target: string): Promise<void> =>
  must(
    node,
    `iptables -N ${chain}; iptables -I INPUT -j ${chain}; iptables -A ${chain} -p tcp --dport 7401 -j ${target}`,
  );
const heal = (node: LabNode): Promise<void> =>
  must(node, `iptables -D INPUT -j ${chain} && iptables -F ${chain} && iptables -X ${chain} || :`);
