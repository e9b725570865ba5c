/** Every call of a migration made to fail in every way, and nodes that go down. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { FaultKind } from "../../helpers/fake-node.ts";
import { destinationId, sourceId } from "../../helpers/fake-world.ts";
import {
  afterResume,
  beforeResume,
  expectMoved,
  expectRolledBack,
  planner,
  split,
  waitFor,
} from "../../helpers/migration-calls.ts";
import { impatientTiming } from "../../helpers/test-planner.ts";

const kinds: FaultKind[] = ["problem", "dropped", "lost", "hung", "silent"];

describe.each(kinds)("one call is %s", (kind) => {
  const timing = kind === "hung" || kind === "silent" ? impatientTiming : {};
  test.concurrent.each(beforeResume)("before the resume, %s: everything is put back", async (call) => {
    await using p = await planner(timing);
    const [node, route] = split(call);
    // GET /pagers/:id is asked once before the freeze; the drain must not meet the fault meant for it.
    p[node].fail(route, { kind });
    const { id } = await p.start();
    const migration = await p.until(id);
    expect(migration.phase).toBe("aborted");
    expect(migration.error?.message).toContain(`node ${node}`);
    expectRolledBack(p);
    // The next attempt goes through.
    expect((await p.until((await p.start()).id)).phase).toBe("committed");
  });

  test.concurrent.each(afterResume)("after the resume, %s: it is repeated", async (call) => {
    await using p = await planner(timing);
    const [node, route] = split(call);
    const held = p.b.hold("POST /restores/:id/resume");
    const { id } = await p.start();
    await held.arrived;
    p[node].fail(route, { kind, code: "upstream", times: 2 });
    held.release();
    expect((await p.until(id)).phase).toBe("committed");
    expectMoved(p);
  });

  test.concurrent("the resume itself: it is asked after, not guessed", async () => {
    await using p = await planner(timing);
    p.b.fail("POST /restores/:id/resume", { kind });
    const { id } = await p.start();
    const { phase } = await p.until(id);
    const done = kind === "lost" || kind === "silent";
    expect(phase).toBe(done ? "committed" : "aborted");
    if (done) expectMoved(p);
    else expectRolledBack(p);
  });

  test.concurrent("the steps of a roll back: they are repeated", async () => {
    await using p = await planner(timing);
    p.a.fail("POST /transfers/:id/delta", { kind: "problem" });
    for (const route of ["DELETE /restores/:id", "DELETE /pagers/:id", "DELETE /receives/:id"])
      p.b.fail(route, { kind, times: 2 });
    for (const route of ["POST /checkpoints/:id/abort", "DELETE /transfers/:id"]) p.a.fail(route, { kind, times: 2 });
    const { id } = await p.start();
    expect(await p.until(id)).toMatchObject({ phase: "aborted", error: { code: "internal" } });
    expectRolledBack(p);
  });
});

describe("a node that is down", () => {
  test("the destination, before the resume: the source is thawed at once, the rest follows when it is back", async () => {
    await using p = await planner();
    const held = p.a.hold("POST /checkpoints/:id/dump");
    const { id } = await p.start();
    await held.arrived;
    await p.b.down();
    held.release();
    await p.until(id, "aborting");
    await waitFor(() => p.world.a.containers.get(sourceId) === "running");
    await delay(30);
    expect((await p.get(id)).phase).toBe("aborting");
    await p.b.up();
    expect((await p.until(id)).phase).toBe("aborted");
    expectRolledBack(p);
  });

  test.each(["lost", "dropped"] as const)(
    "the destination, with the answer of the resume (%s): the source stays frozen until it is known",
    async (kind) => {
      await using p = await planner();
      const held = p.b.hold("POST /restores/:id/resume");
      p.b.fail("POST /restores/:id/resume", { kind });
      const { id } = await p.start();
      await held.arrived;
      p.b.fail("GET /restores/:id", { kind: "dropped", times: 10 });
      held.release();
      await waitFor(() => p.world.calls.filter((call) => call === "b GET /restores/:id").length > 5);
      expect((await p.get(id)).phase).toBe("resuming");
      expect(p.world.a.containers.get(sourceId)).toBe("frozen");
      const cancel = await p.request("DELETE", `/migrations/${id}`);
      expect(cancel.status).toBe(409);
      expect((await p.until(id)).phase).toBe(kind === "lost" ? "committed" : "aborted");
      if (kind === "lost") expectMoved(p);
      else expectRolledBack(p);
    },
  );

  test("the source, after the drain: the destination is finished without waiting for it", async () => {
    await using p = await planner();
    const held = p.b.hold("GET /pagers/:id");
    const { id } = await p.start();
    await held.arrived;
    held.release();
    p.world.b.drainPolls = 4;
    await p.until(id, "draining");
    await p.a.down();
    await waitFor(() => p.world.b.restartPolicy === "always");
    expect((await p.get(id)).phase).toBe("committing");
    await p.a.up();
    expect((await p.until(id)).phase).toBe("committed");
    expectMoved(p);
  });

  test("the destination, restarted after a resume whose answer was lost: what ran there does not run at the source", async () => {
    await using p = await planner();
    const held = p.b.hold("POST /restores/:id/resume");
    p.b.fail("POST /restores/:id/resume", { kind: "lost" });
    const { id } = await p.start();
    await held.arrived;
    await waitFor(() => p.world.a.checkpoints.get(id)?.state === "sealed");
    p.b.fail("GET /restores/:id", { kind: "dropped", times: 3 });
    held.release();
    await waitFor(() => p.world.b.hasRun);
    // All that its services knew is gone; Docker has the stopped container.
    for (const known of [p.world.b.restores, p.world.b.pagers, p.world.b.receives]) known.clear();
    p.world.b.containers.set(destinationId, "stopped");
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("was the node restarted?");
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });

  test("the destination, restarted before the resume: its container is cleared away all the same", async () => {
    await using p = await planner();
    const held = p.a.hold("POST /checkpoints/:id/dump");
    const { id } = await p.start();
    await held.arrived;
    for (const known of [p.world.b.restores, p.world.b.pagers, p.world.b.receives]) known.clear();
    await p.request("DELETE", `/migrations/${id}`);
    held.release();
    expect((await p.until(id)).phase).toBe("aborted");
    expect(p.world.b.containers.has(destinationId)).toBe(false);
    expectRolledBack(p);
  });

  test("a container that dies before all its memory is there: the source stays frozen", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    p.world.b.containers.set(destinationId, "stopped");
    Object.assign(p.world.b.pagers.get(id) ?? {}, { state: "drained", pagesFaulted: 100, pagesPrefetched: 300 });
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("killed for lack of memory, exit code 137");
    expect(error?.message).toContain(`/checkpoints/${id}/abort`);
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });

  test("a container that dies once all its memory is there has moved", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    p.world.b.containers.set(destinationId, "stopped");
    Object.assign(p.world.b.pagers.get(id) ?? {}, { state: "drained", pagesFaulted: 100, pagesPrefetched: 900 });
    expect((await p.until(id)).phase).toBe("committed");
  });

  test("a pager that has failed while draining: the source stays frozen, and the error says what to do", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    Object.assign(p.world.b.pagers.get(id) ?? {}, { state: "failed", error: "the link was lost" });
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("the link was lost");
    expect(error?.message).toContain(`/checkpoints/${id}/abort`);
    expect(p.world.violations).toEqual([]);
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
    expect((await p.request("DELETE", `/migrations/${id}`)).status).toBe(409);
  });

  test("a container whose missing memory reads as zeros runs no further", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    const lost = { state: "failed", error: "the page daemon ended", memoryGone: true };
    Object.assign(p.world.b.pagers.get(id) ?? {}, lost);
    expect((await p.until(id)).phase).toBe("failed");
    expect(p.world.b.containers.get(destinationId)).toBe("frozen");
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });

  test("a source that was restarted while draining: the error says that there is nothing to go back to", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    p.world.a.checkpoints.delete(id);
    Object.assign(p.world.b.pagers.get(id) ?? {}, { state: "failed", error: "the source stayed away" });
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("Node a no longer knows the checkpoint");
    expect(error?.message).not.toContain("/abort");
  });
});
