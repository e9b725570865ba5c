/** A cancel at every call, and too late. */
import { describe, expect, test } from "vitest";
import { beforeResume, expectMoved, expectRolledBack, planner, split } from "../../helpers/migration-calls.ts";

describe("a cancel", () => {
  test.concurrent.each(beforeResume)("at %s", async (call) => {
    await using p = await planner();
    const [node, route] = split(call);
    const held = p[node].hold(route);
    const { id } = await p.start();
    await held.arrived;
    const response = await p.request("DELETE", `/migrations/${id}`);
    const late = (await p.get(id)).phase === "resuming";
    expect(response.status).toBe(late ? 409 : 202);
    held.release();
    const migration = await p.until(id);
    expect(migration.phase).toBe(late ? "committed" : "aborted");
    if (late) {
      expectMoved(p);
      return;
    }
    expect(migration.error?.code).toBe("cancelled");
    expectRolledBack(p);
    // Asked again it answers as before.
    expect((await p.request("DELETE", `/migrations/${id}`)).status).toBe(202);
  });

  test.each(["draining", "committed"] as const)("while %s: a conflict that says why", async (phase) => {
    await using p = await planner();
    p.world.b.drainPolls = 10;
    const { id } = await p.start();
    await p.until(id, phase);
    const response = await p.request("DELETE", `/migrations/${id}`);
    expect(response.status).toBe(409);
    expect(((await response.json()) as { detail: string }).detail).toContain("already runs on node b");
    expect((await p.until(id)).phase).toBe("committed");
  });

  test("of an unknown migration is not found", async () => {
    await using p = await planner();
    expect((await p.request("DELETE", "/migrations/m-0000000000000000")).status).toBe(404);
  });
});
