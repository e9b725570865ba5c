/** Migrations that go on without a node which is gone for good. */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { destinationId, sourceId } from "../../helpers/fake-world.ts";
import { expectRolledBack, planner, waitFor } from "../../helpers/migration-calls.ts";
import type { TestPlanner } from "../../helpers/test-planner.ts";
import {
  abandon,
  detailOf,
  endless,
  obey,
  silence,
  startToDump,
  startToResume,
  warnings,
  withStore,
} from "../../helpers/abandon-calls.ts";

describe("aborting", () => {
  test("without the destination: the source runs, and what is left there is told", async () => {
    await using p = await planner(endless);
    const { id, goOn } = await startToDump(p);
    await p.b.down();
    await p.request("DELETE", `/migrations/${id}`);
    goOn();
    await waitFor(() => p.world.a.transfers.size === 0);
    expect((await p.get(id)).phase).toBe("aborting");
    expect((await abandon(p, id, "b")).status).toBe(202);
    const migration = await p.until(id);
    expect(migration).toMatchObject({ phase: "aborted", abandoned: ["b"], error: { code: "cancelled" } });
    expect(p.world.a.containers.get(sourceId)).toBe("running");
    const told = (await warnings(p, id)).split("\n").find((line) => line.includes("docker rm -f")) ?? "";
    expect(told).toContain("container web (bbbbbbbbbbbb)");
    // The node does come back.
    await p.b.up();
    await obey(p.b, told);
    expectRolledBack(p);
  });

  test("without the source: the destination is cleaned all the same", async () => {
    await using p = await planner(endless);
    const { id, goOn } = await startToDump(p);
    await p.a.down();
    await p.request("DELETE", `/migrations/${id}`);
    goOn();
    await waitFor(() => p.world.b.receives.size === 0);
    expect((await p.get(id)).phase).toBe("aborting");
    expect((await abandon(p, id, "a")).status).toBe(202);
    expect((await p.until(id)).phase).toBe("aborted");
    expect(p.world.b.containers.has(destinationId)).toBe(false);
    const told = (await warnings(p, id)).split("\n").find((line) => line.includes("puts it back")) ?? "";
    await p.a.up();
    await obey(p.a, told);
    expectRolledBack(p);
  });

  test("a call under way to the node ends at once", async () => {
    await using p = await planner(endless);
    const { id, goOn } = await startToDump(p);
    const held = p.b.hold("DELETE /restores/:id");
    silence(p.b);
    await p.request("DELETE", `/migrations/${id}`);
    goOn();
    await held.arrived;
    await abandon(p, id, "b");
    expect((await p.until(id)).phase).toBe("aborted");
    expect(p.world.calls).not.toContain("b DELETE /pagers/:id");
    held.release();
  });

  test("a planner that is restarted goes on without the node, and insists on the other", async () => {
    await using p = await planner({ retryMs: () => 20 });
    const { id, goOn } = await startToDump(p);
    await Promise.all([p.a.down(), p.b.down()]);
    await p.request("DELETE", `/migrations/${id}`);
    goOn();
    await p.until(id, "aborting");
    expect((await abandon(p, id, "b")).status).toBe(202);
    expect((await abandon(p, id, "b")).status).toBe(202);
    await p.crash();
    await p.b.up();
    p.world.calls.length = 0;
    p.restart();
    await delay(60);
    expect(await p.get(id)).toMatchObject({ phase: "aborting", abandoned: ["b"] });
    await p.a.up();
    expect((await p.until(id)).phase).toBe("aborted");
    expect(p.world.a.containers.get(sourceId)).toBe("running");
    expect(p.world.calls.filter((call) => call.startsWith("b "))).toEqual([]);
  });

  test("without both: it ends", async () => {
    await using p = await planner(endless);
    const { id, goOn } = await startToDump(p);
    await Promise.all([p.a.down(), p.b.down()]);
    await p.request("DELETE", `/migrations/${id}`);
    goOn();
    await p.until(id, "aborting");
    await abandon(p, id, "a");
    expect((await p.get(id)).phase).toBe("aborting");
    await abandon(p, id, "b");
    expect(await p.until(id)).toMatchObject({ phase: "aborted", abandoned: ["a", "b"] });
  });
});

describe("resuming", () => {
  test("without the destination: it is ruled out, and the source thawed", async () => {
    await using p = await planner(endless);
    const id = await startToResume(p);
    silence(p.b);
    expect((await p.get(id)).phase).toBe("resuming");
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
    expect((await abandon(p, id, "b")).status).toBe(202);
    const { phase, error } = await p.until(id);
    expect(phase).toBe("aborted");
    expect(error?.message).toContain("node b was abandoned");
    expect(p.world.a.containers.get(sourceId)).toBe("running");
    expect(p.world.a.restartPolicy).toBe("always");
    expect(p.world.violations).toEqual([]);
  });

  test("while the destination is asked after: likewise", async () => {
    await using p = await planner(endless);
    const held = p.b.hold("POST /restores/:id/resume");
    const { id } = await p.start();
    await held.arrived;
    p.b.fail("POST /restores/:id/resume", { kind: "dropped" });
    p.b.fail("GET /restores/:id", { kind: "hung" });
    silence(p.b);
    p.world.calls.length = 0;
    held.release();
    await waitFor(() => p.world.calls.includes("b GET /restores/:id"));
    await abandon(p, id, "b");
    expect((await p.until(id)).phase).toBe("aborted");
    expect(p.world.a.containers.get(sourceId)).toBe("running");
  });

  test("the word is taken by the next planner, too", async () => {
    await using p = await planner();
    const id = await startToResume(p);
    await p.b.down();
    await withStore(p, ({ migrations }) => {
      const record = migrations.get(id);
      if (record?.migration.phase !== "resuming") throw new Error("it should be resuming");
      migrations.save({ ...record, migration: { ...record.migration, abandoned: ["b"] } }, []);
    });
    const { phase, error } = await p.until(id);
    expect(phase).toBe("aborted");
    expect(error?.message).toContain("node b was abandoned");
    expect(p.world.a.containers.get(sourceId)).toBe("running");
  });

  test("without the source, before the resume was asked for: what lacks its memory is not resumed", async () => {
    await using p = await planner(endless);
    const held = p.b.hold("POST /pagers/:id/serve");
    const { id } = await p.start();
    await p.until(id, "resuming");
    silence(p.a);
    await abandon(p, id, "a");
    held.release();
    expect(await p.until(id)).toMatchObject({ phase: "aborted", abandoned: ["a"] });
    expect(p.world.calls).not.toContain("b POST /restores/:id/resume");
    expect(p.world.b.containers.has(destinationId)).toBe(false);
    expect(p.world.b.pagers.size + p.world.b.receives.size).toBe(0);
  });

  test("without the source, once the resume was asked for: the destination decides, and the source is not released", async () => {
    await using p = await planner(endless);
    const held = p.b.hold("POST /restores/:id/resume");
    const { id } = await p.start({ removeSource: true });
    await held.arrived;
    await p.a.down();
    await abandon(p, id, "a");
    expect((await p.get(id)).phase).toBe("resuming");
    held.release();
    expect((await p.until(id)).phase).toBe("committed");
    expect(p.world.b.containers.get(destinationId)).toBe("running");
    expect(p.world.b.restartPolicy).toBe("always");
    expect(p.world.b.receives.size + p.world.b.pagers.size).toBe(0);
    expect(await warnings(p, id)).toContain("must not run there");
    // Not removed, as it should have been: it may give way to its own return.
    expect(await withStore(p, ({ leftovers }) => leftovers.find("a", "web"))).toBe(sourceId);
  });
});

describe("draining", () => {
  test("without the destination: failed, the source stays frozen, and the error says how to go back", async () => {
    await using p = await planner(endless);
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    await p.b.down();
    expect((await abandon(p, id, "b")).status).toBe(202);
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("node b was abandoned");
    expect(error?.message).toContain("the source is still frozen as it was");
    expect(error?.message).toContain(`POST /checkpoints/${id}/abort`);
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });

  test("without the source it ends by itself: refused", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const { id } = await p.start();
    await p.until(id, "draining");
    await p.a.down();
    const response = await abandon(p, id, "a");
    expect(response.status).toBe(409);
    expect(await detailOf(response)).toContain("ends by itself without node a");
    Object.assign(p.world.b.pagers.get(id) ?? {}, { state: "failed", error: "the source stayed away" });
    expect(await p.until(id)).toMatchObject({ phase: "failed", abandoned: [] });
  });
});

describe("committing", () => {
  /** With nobody's release or finish going through. */
  const startToCommit = async (p: TestPlanner): Promise<string> => {
    const { id } = await p.start();
    await p.until(id, "committing");
    return id;
  };

  test("without the source: committed", async () => {
    await using p = await planner(endless);
    const held = p.a.hold("POST /checkpoints/:id/commit");
    const id = await startToCommit(p);
    await held.arrived;
    silence(p.a);
    await abandon(p, id, "a");
    const migration = await p.until(id);
    expect(migration.phase).toBe("committed");
    expect(migration.totalMs).toBeGreaterThan(0);
    expect(p.world.calls).not.toContain("a DELETE /transfers/:id");
    expect(p.world.b.restartPolicy).toBe("always");
    expect(await withStore(p, ({ leftovers }) => leftovers.find("a", "web"))).toBe(sourceId);
    held.release();
  });

  test("without the destination: a source that is not released stays as it is", async () => {
    await using p = await planner(endless);
    p.a.fail("POST /checkpoints/:id/commit", { kind: "problem", code: "upstream" });
    p.b.fail("POST /restores/:id/finish", { kind: "hung" });
    const id = await startToCommit(p);
    await waitFor(() => p.world.calls.includes("b POST /restores/:id/finish"));
    silence(p.b);
    await abandon(p, id, "b");
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("node b, which was abandoned");
    expect(error?.message).toContain("the source is still frozen as it was");
    await delay(30);
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
    expect(await withStore(p, ({ leftovers }) => leftovers.find("a", "web"))).toBeUndefined();
  });

  test("without the destination: a release that is under way is waited for, and told", async () => {
    await using p = await planner(endless);
    const held = p.a.hold("POST /checkpoints/:id/commit");
    p.b.fail("POST /restores/:id/finish", { kind: "hung" });
    const id = await startToCommit(p);
    await held.arrived;
    silence(p.b);
    await abandon(p, id, "b");
    await delay(30);
    expect((await p.get(id)).phase).toBe("committing");
    held.release();
    const { phase, error } = await p.until(id);
    expect(phase).toBe("failed");
    expect(error?.message).toContain("the source was released and is stopped");
  });

  test("a planner that is restarted does not begin the release of a source that is all there is", async () => {
    await using p = await planner();
    p.a.fail("POST /checkpoints/:id/commit", { kind: "problem", code: "upstream", times: 1000 });
    const id = await startToCommit(p);
    await p.b.down();
    await withStore(p, ({ migrations }) => {
      const record = migrations.get(id);
      if (record === undefined) throw new Error("it should be there");
      migrations.save({ ...record, migration: { ...record.migration, abandoned: ["b"] } }, []);
      p.world.calls.length = 0;
      p.a.fail("POST /checkpoints/:id/commit", { kind: "problem", times: 0 });
    });
    expect((await p.until(id)).phase).toBe("failed");
    expect(p.world.calls).not.toContain("a POST /checkpoints/:id/commit");
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });
});
