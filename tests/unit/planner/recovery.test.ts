/** The planner lost at every call, and stopped in order. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { destinationId } from "../../helpers/fake-world.ts";
import {
  afterResume,
  beforeResume,
  expectMoved,
  expectRolledBack,
  planner,
  split,
  waitFor,
} from "../../helpers/migration-calls.ts";
import { createTestPlanner } from "../../helpers/test-planner.ts";

const everyCall = [...beforeResume, "b POST /restores/:id/resume", ...afterResume.slice(1)];

describe("the planner is lost", () => {
  test.concurrent.each(everyCall)(
    "at %s, which is then carried out: the next planner ends the migration",
    async (call) => {
      await using p = await planner();
      const [node, route] = split(call);
      const held = p[node].hold(route);
      const { id } = await p.start();
      await held.arrived;
      await p.crash();
      held.release();
      await delay(5);
      p.restart();
      const { phase } = await p.until(id);
      const resumed = p.world.calls.includes("b POST /restores/:id/resume");
      expect(phase).toBe(resumed ? "committed" : "aborted");
      if (resumed) expectMoved(p);
      else expectRolledBack(p);
    },
  );

  test.concurrent.each(everyCall)("at %s, which is never carried out", async (call) => {
    await using p = await planner();
    const [node, route] = split(call);
    p[node].fail(route, { kind: "hung" });
    const { id } = await p.start();
    await waitFor(() => p.world.calls.includes(call));
    await p.crash();
    p.restart();
    const { phase } = await p.until(id);
    const resumed = p.world.b.containers.get(destinationId) === "running";
    expect(phase).toBe(resumed ? "committed" : "aborted");
    if (resumed) expectMoved(p);
    else expectRolledBack(p);
  });

  test("while draining: the next planner goes on with it", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 30;
    const { id } = await p.start();
    await p.until(id, "draining");
    await p.crash();
    p.restart();
    expect((await p.until(id)).phase).toBe("committed");
    expectMoved(p);
  });

  test("while rolling back, and again, and again", async () => {
    await using p = await planner();
    p.a.fail("POST /checkpoints/:id/dump", { kind: "problem" });
    p.b.fail("DELETE /restores/:id", { kind: "dropped", times: 1000 });
    const { id } = await p.start();
    for (let n = 0; n < 3; n++) {
      await p.until(id, "aborting");
      await p.crash();
      p.restart();
    }
    expect((await p.get(id)).error?.message).toContain("made to fail");
    p.b.fail("DELETE /restores/:id", { kind: "problem", code: "upstream" });
    expect(await p.until(id)).toMatchObject({ phase: "aborted", error: { code: "internal" } });
    expectRolledBack(p);
  });

  test("with a checkpoint on its way that arrives after the roll back: it is undone again", async () => {
    await using p = await createTestPlanner({ settleMs: 60 });
    const held = p.a.hold("POST /checkpoints");
    const { id } = await p.start();
    await held.arrived;
    await p.crash();
    p.restart();
    await waitFor(() => p.world.calls.includes("a POST /checkpoints/:id/abort"));
    held.release();
    await waitFor(() => p.world.a.checkpoints.get(id)?.state === "ready");
    expect((await p.until(id)).phase).toBe("aborted");
    expectRolledBack(p);
  });

  test("with a freeze on its way that arrives after the roll back: it freezes nothing", async () => {
    await using p = await createTestPlanner({ settleMs: 60 });
    const held = p.a.hold("POST /checkpoints/:id/freeze");
    const { id } = await p.start();
    await held.arrived;
    await p.crash();
    p.restart();
    await waitFor(() => p.world.a.checkpoints.get(id)?.state === "aborted");
    held.release();
    expect((await p.until(id)).phase).toBe("aborted");
    expectRolledBack(p);
  });
});

describe("a stop of the planner", () => {
  test("while preparing: rolled back before it ends", async () => {
    await using p = await createTestPlanner();
    await p.crash();
    // Restarted planners have time to stop in order.
    p.restart();
    const held = p.b.hold("POST /restores");
    const { id } = await p.start();
    await held.arrived;
    const stopped = p.crash();
    held.release();
    await stopped;
    expectRolledBack(p);
    p.restart();
    expect(await p.get(id)).toMatchObject({ phase: "aborted", error: { code: "cancelled" } });
  });

  test("while the container is frozen: it goes on until the container runs again", async () => {
    await using p = await createTestPlanner();
    await p.crash();
    p.restart();
    p.world.b.drainPolls = 1000;
    const held = p.a.hold("POST /checkpoints/:id/dump");
    const { id } = await p.start();
    await held.arrived;
    const stopped = p.crash();
    held.release();
    await stopped;
    expect(p.world.b.containers.get(destinationId)).toBe("running");
    p.world.b.drainPolls = 0;
    p.restart();
    expect((await p.until(id)).phase).toBe("committed");
    expectMoved(p);
  });
});
