/** An image that the destination lacks, and that a registry has. */
import { describe, expect, test } from "vitest";
import { planPull, registryOf } from "../../../services/planner/core/pull.ts";
import { fakeProfile, type FakeNodeState } from "../../helpers/fake-world.ts";
import { createTestPlanner, type TestPlanner } from "../../helpers/test-planner.ts";

const digest = `sha256:${"d".repeat(64)}`;
const ref = `registry.example:5000/team/web@${digest}`;

test.each([
  [`redis@${digest}`, "docker.io"],
  [`team/web@${digest}`, "docker.io"],
  [ref, "registry.example:5000"],
  [`localhost/web@${digest}`, "localhost"],
])("the registry of %s", (repoDigest, registry) => {
  expect(registryOf(repoDigest)).toBe(registry);
});

test("is pulled only from where that is allowed", () => {
  const plan = (pullFrom: string[], repoDigests = [`redis@${digest}`, ref]) =>
    planPull({ shipImage: true, profile: { repoDigests }, pullFrom });
  expect(plan(["registry.example:5000"]).ref).toBe(ref);
  expect(plan(["registry.example"]).ref).toBeUndefined();
  expect(plan([]).reason).toContain("docker.io, registry.example:5000 is not allowed");
  expect(plan(["docker.io"], []).reason).toContain("no registry");
  expect(planPull({ shipImage: false, profile: { repoDigests: [ref] }, pullFrom: ["registry.example:5000"] }).ref).toBe(
    undefined,
  );
});

describe("a migration", () => {
  const pull = "b POST /images/:ref/pull";
  const send = "a POST /transfers/:id/image";

  const planner = async (registry: FakeNodeState["registry"], pullFrom = ["registry.example:5000"]) => {
    const created = await createTestPlanner({}, 4, pullFrom);
    created.world.profile = { ...fakeProfile(), repoDigests: [ref] };
    Object.assign(created.world.b, { hasImage: false, registry });
    return created;
  };
  const callsOf = ({ world }: TestPlanner): string[] =>
    world.calls
      .map((call) => call.replace(/\/images\/[^/]+/, "/images/:ref"))
      .filter((call) => [pull, send].includes(call));

  test("sends nothing of an image that is pulled in time", async () => {
    await using p = await planner("quick");
    const { id } = await p.start();
    expect(await p.until(id)).toMatchObject({ phase: "committed", plan: { pull: ref } });
    expect(callsOf(p)).toEqual([pull]);
  });

  test("sends the image as well when the registry is slow, and does not wait for that", async () => {
    await using p = await planner("slow");
    const { id } = await p.start();
    expect((await p.until(id)).phase).toBe("committed");
    expect(callsOf(p)).toEqual([pull, send]);
  });

  test("sends the image when the registry does not have it, and says why", async () => {
    await using p = await planner("without it");
    const { id } = await p.start();
    expect((await p.until(id)).phase).toBe("committed");
    expect(callsOf(p)).toEqual([pull, send]);
    const events = await (await p.request("GET", `/migrations/${id}/events?follow=false`)).text();
    expect(events).toContain("node b could not pull registry.example:5000/team/web");
  });

  test("goes on with a pull when the image cannot be sent", async () => {
    await using p = await planner("slow");
    p.a.fail("POST /transfers/:id/image", { kind: "problem" });
    const { id } = await p.start();
    while (!callsOf(p).includes(send)) await new Promise((resolve) => setTimeout(resolve, 5));
    p.world.b.registry = "quick";
    expect((await p.until(id)).phase).toBe("committed");
  });

  test("is rolled back when the image comes by neither way", async () => {
    await using p = await planner("without it");
    p.a.fail("POST /transfers/:id/image", { kind: "problem" });
    const { id } = await p.start();
    const { phase, error } = await p.until(id);
    expect(phase).toBe("aborted");
    expect(error?.message).toContain("node a");
    expect(p.world.isClean()).toBe(true);
  });

  test("asks no registry that is not allowed", async () => {
    await using p = await planner("quick", ["docker.io"]);
    const { id } = await p.start();
    expect((await p.until(id)).phase).toBe("committed");
    expect(callsOf(p)).toEqual([send]);
  });
});
