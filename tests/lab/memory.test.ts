import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import type { LabNode } from "../helpers/lab/lab.ts";
import { parseTorture, tortureCommand, type TortureReport } from "../helpers/memory-torture.ts";
import { removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { startContainer } from "../helpers/workloads.ts";

const name = "torture";

describe("processes that change their memory all the time", () => {
  const { nodes, planner } = connectLab();
  const { a, b } = nodes;
  const user = new PlannerUser(planner);

  beforeAll(async () => {
    await startContainer(a, name, tortureCommand(12, 4, 4));
    await pollUntil("the program's first report", 20_000, () => reportOf(a));
  });
  afterAll(() => removeContainers([a, b]));

  it("find every byte as it was, moved back and forth", async () => {
    for (let round = 0; round < 4; round += 1) {
      const [from, to] = round % 2 === 0 ? (["a", "b"] as const) : (["b", "a"] as const);
      const migration = await user.migrate({ container: name, from, to });
      expect(migration.pagesFaulted).toBeGreaterThan(0);
      const moved = await reportOf(nodes[to]);
      await pollUntil("the program to go on", 30_000, async () => {
        const now = await reportOf(nodes[to]);
        return now !== undefined && now.rounds > (moved?.rounds ?? 0) + 64 ? now : undefined;
      });
      expect(await reportOf(nodes[to])).toMatchObject({ wrong: 0 });
    }
  });
});

/** What the program said last on this node; undefined when it has said nothing. */
async function reportOf(node: LabNode): Promise<TortureReport | undefined> {
  const frames = await node.docker.getContainer(name).logs({ stdout: true, stderr: true, tail: 1 });
  // Without a terminal each line has a header of 8 bytes.
  const line = frames.subarray(8).toString();
  return line === "" ? undefined : parseTorture(line);
}
