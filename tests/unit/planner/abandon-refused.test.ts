/** Nodes that are not given up, and why. */
import { describe, expect, test } from "vitest";
import { whyNotAbandon } from "../../../services/planner/core/abandonment.ts";
import { isTerminal } from "../../../services/planner/core/phase.ts";
import { migrationPhaseSchema, type Migration } from "../../../services/shared/contracts/planner.ts";
import { sourceId } from "../../helpers/fake-world.ts";
import { expectRolledBack, planner } from "../../helpers/migration-calls.ts";
import { abandon, detailOf, startToDump, startToResume } from "../../helpers/abandon-calls.ts";

describe("refused", () => {
  test("a node that answers is not gone", async () => {
    await using p = await planner();
    const id = await startToResume(p);
    const response = await abandon(p, id, "b");
    expect(response.status).toBe(409);
    expect(await detailOf(response)).toContain("power it off or fence it first");
    expect(await p.get(id)).toMatchObject({ phase: "resuming", abandoned: [] });
    expect(p.world.a.containers.get(sourceId)).toBe("frozen");
  });

  test("a destination that may run the container is not gone while its machine refuses connections", async () => {
    await using p = await planner();
    const id = await startToResume(p);
    await p.b.down();
    const response = await abandon(p, id, "b");
    expect(response.status).toBe(409);
    expect(await detailOf(response)).toContain("refuses connections");
    expect(await p.get(id)).toMatchObject({ phase: "resuming", abandoned: [] });
  });

  test("one that goes on while the node is asked: the word was for what is over", async () => {
    await using p = await planner();
    p.world.b.drainPolls = 1000;
    const resume = p.b.hold("POST /restores/:id/resume");
    const { id } = await p.start();
    await resume.arrived;
    const health = p.b.hold("GET /healthz");
    p.b.fail("GET /healthz", { kind: "dropped" });
    const asked = abandon(p, id, "b");
    await health.arrived;
    resume.release();
    await p.until(id, "draining");
    health.release();
    const response = await asked;
    expect(response.status).toBe(409);
    expect(await detailOf(response)).toContain("from resuming to draining meanwhile");
    expect(await p.get(id)).toMatchObject({ phase: "draining", abandoned: [] });
  });

  test("a migration that can be cancelled, and one that has ended", async () => {
    await using p = await planner();
    const { id, goOn } = await startToDump(p);
    const early = await abandon(p, id, "b");
    expect(early.status).toBe(409);
    expect(await detailOf(early)).toContain(`dmigrate cancel ${id}`);
    goOn();
    expect((await p.until(id)).phase).toBe("committed");
    for (const node of ["a", "b"]) {
      const late = await abandon(p, id, node);
      expect(late.status).toBe(409);
      expect(await detailOf(late)).toContain("has ended (committed)");
    }
  });

  test("one that ends while the node is asked", async () => {
    await using p = await planner();
    const resume = p.b.hold("POST /restores/:id/resume");
    const { id } = await p.start();
    await resume.arrived;
    const health = p.b.hold("GET /healthz");
    p.b.fail("GET /healthz", { kind: "dropped" });
    const asked = abandon(p, id, "b");
    await health.arrived;
    p.b.fail("POST /restores/:id/resume", { kind: "problem", code: "restore-failed" });
    resume.release();
    expect((await p.until(id)).phase).toBe("aborted");
    health.release();
    expect((await asked).status).toBe(409);
    expectRolledBack(p);
  });

  test.each([
    [{ node: "c" }, "node"],
    [{ node: "../a" }, "node"],
    [{}, "node"],
    [{ node: "b", force: true }, "force"],
  ])("%j names the field at fault", async (body, field) => {
    await using p = await planner();
    const { id, goOn } = await startToDump(p);
    const response = await p.request("POST", `/migrations/${id}/abandon`, body);
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toContain("application/problem+json");
    expect(await response.json()).toMatchObject({ code: "invalid-request", errors: [{ field }] });
    goOn();
    await p.until(id);
  });

  test("an unknown migration is not found", async () => {
    await using p = await planner();
    expect((await abandon(p, "m-0000000000000000", "a")).status).toBe(404);
  });
});

test("the word is taken exactly where a migration may wait for the node for ever", () => {
  const taken = migrationPhaseSchema.options.flatMap((phase) =>
    (["source", "destination"] as const)
      .filter((role) => whyNotAbandon({ id: "m", phase, from: "a", to: "b" } as Migration, role) === undefined)
      .map((role) => `${phase} ${role}`),
  );
  expect(taken).toEqual([
    "resuming source",
    "resuming destination",
    "draining destination",
    "committing source",
    "committing destination",
    "aborting source",
    "aborting destination",
  ]);
  expect(
    taken.some((which) => migrationPhaseSchema.options.filter(isTerminal).some((end) => which.startsWith(end))),
  ).toBe(false);
});
