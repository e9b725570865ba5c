/** A transfer that meets with a slow link, connections that break again and again, or a disk that fills up meanwhile. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { openHandMigration } from "../helpers/hand-migration.ts";
import { connectLab } from "../helpers/lab/connect.ts";
import { breakConnections, must, slowDown, speedUp } from "../helpers/node-link.ts";
import { readNodeState, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { startContainer } from "../helpers/workloads.ts";

const volumes = "/var/lib/docker/volumes";
const dataOf = (name: string): string => `${volumes}/${name}-data/_data`;
const MB = 1_000_000;

describe("a transfer under bad conditions", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);

  beforeAll(() => lab.loadWorkload(b));
  afterEach(async () => {
    await Promise.all([a, b].map(speedUp));
    await removeContainers([a, b]);
  });

  /** Starts a container with a file of random bytes in its volume. */
  const startWithFile = (name: string, bytes: number): Promise<void> =>
    startWith(name, `head -c ${bytes} /dev/urandom >/data/big`);

  async function startWith(name: string, make: string): Promise<void> {
    const script = `${make}; : >/data/ready; exec sleep infinity`;
    await startContainer(a, name, ["sh", "-c", script], {
      HostConfig: { Mounts: [{ Type: "volume", Source: `${name}-data`, Target: "/data" }] },
    });
    await pollUntil("the file", 30_000, async () =>
      (await a.exec(["test", "-e", `${dataOf(name)}/ready`])).exitCode === 0 ? true : undefined,
    );
  }

  it("goes on where it was when its connections break, ten times", async () => {
    const bytes = 1_000 * MB;
    await startWithFile("broken", bytes);
    await using migration = await openHandMigration(a, b, "broken");
    await slowDown(a, 1_000);
    const state = { over: false };
    const pass = migration.firstPass().finally(() => (state.over = true));
    pass.catch(() => undefined);
    for (let kill = 0; kill < 10; kill++) {
      await sleep(500);
      expect(state.over).toBe(false);
      expect(await breakConnections(b)).toBeGreaterThan(0);
    }
    const shipped = await pass;
    // What was in the sockets goes again; what had arrived does not.
    expect(shipped.bytes).toBeLessThan(bytes * 1.05);
    await speedUp(a);
    const sum = `sha256sum <${dataOf("broken")}/big`;
    expect(await must(b, sum)).toBe(await must(a, sum));
  });

  it("rolls back when the destination's disk fills up, and says so", async () => {
    await lab.loadWorkload(b);
    await startWithFile("full", 40 * MB);
    const before = await Promise.all([a, b].map(readNodeState));
    await must(b, `mount -t tmpfs -o size=64m tmpfs ${volumes}`);
    try {
      await slowDown(a, 100);
      const { id } = await user.post({ container: "full", from: "a", to: "b" });
      await pollUntil("half of the file", 30_000, async () => {
        const { bytesSent, error } = await user.get(id);
        if (error !== undefined) throw new Error(error.message);
        return bytesSent > 15 * MB ? true : undefined;
      });
      await must(b, `fallocate -l 30m ${volumes}/taken 2>/dev/null || head -c 64m /dev/zero >${volumes}/taken || :`);
      const { phase, error } = await user.waitForEnd(id);
      expect(phase).toBe("aborted");
      expect(error?.message).toMatch(/no room left for volume full-data: \/big; make room/);
      expect(await must(b, `ls ${volumes}`)).toBe("taken\n");
    } finally {
      await must(b, `umount ${volumes}`);
    }
    expect(await Promise.all([a, b].map(readNodeState))).toEqual(before);
    expect((await a.docker.getContainer("full").inspect()).State).toMatchObject({ Running: true, Paused: false });
  });

  it("rolls back when the destination runs out of inodes, and says that it is those", async () => {
    await lab.loadWorkload(b);
    await startWith("many", "i=0; while [ $i -lt 3000 ]; do : >/data/f$i; i=$((i+1)); done");
    const before = await Promise.all([a, b].map(readNodeState));
    await must(b, `mount -t tmpfs -o size=64m,nr_inodes=1000 tmpfs ${volumes}`);
    try {
      const { id } = await user.post({ container: "many", from: "a", to: "b" });
      const { phase, error } = await user.waitForEnd(id);
      expect(phase).toBe("aborted");
      expect(error?.message).toMatch(/no inodes left for volume many-data: \/f\d+; remove files/);
      expect(await must(b, `ls ${volumes}`)).toBe("");
    } finally {
      await must(b, `umount ${volumes}`);
    }
    expect(await Promise.all([a, b].map(readNodeState))).toEqual(before);
    expect((await a.docker.getContainer("many").inspect()).State).toMatchObject({ Running: true, Paused: false });
  });

  it("moves a small container over 100 Mbit/s", async () => {
    await startWithFile("slow", 5 * MB);
    await Promise.all([a, b].map((node) => slowDown(node, 100)));
    const sum = `sha256sum <${dataOf("slow")}/big`;
    const expected = await must(a, sum);
    const { downtimeMs = Infinity } = await user.migrate({ container: "slow", from: "a", to: "b" });
    expect(downtimeMs).toBeLessThan(5_000);
    expect(await must(b, sum)).toBe(expected);
    expect((await b.docker.getContainer("slow").inspect()).State.Running).toBe(true);
  });
});
