import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openStore } from "../../../services/planner/adapters/store.ts";
import type { ContainerProfile } from "../../../services/shared/contracts/container.ts";
import { planSchema, type Plan } from "../../../services/shared/contracts/planner.ts";
import { destinationId, fakeProfile, sourceId } from "../../helpers/fake-world.ts";
import { createTestPlanner, type TestPlanner } from "../../helpers/test-planner.ts";

/** Calls without the reports of progress, which come when they come. */
const callsOf = ({ world }: TestPlanner): string[] =>
  world.calls.filter((call) => !/GET \/(transfers|pagers)\/:id$/.test(call));

/** Of a second container, `db`. */
const another = (profile: ContainerProfile): ContainerProfile => ({
  ...profile,
  id: "d".repeat(64),
  spec: { ...profile.spec, name: "db" },
});

describe("a migration without failures", () => {
  test("makes its calls in their order, and commits", async () => {
    await using planner = await createTestPlanner();
    const { id, phase } = await planner.start();
    expect(["planning", "preparing"]).toContain(phase);
    const migration = await planner.until(id);
    expect(migration).toMatchObject({
      phase: "committed",
      sourceContainerId: sourceId,
      destinationContainerId: destinationId,
      pagesTotal: 1000,
      pagesFaulted: 100,
      pagesPrefetched: 900,
      pagesZero: 40,
      pagesEqual: 20,
    });
    const calls = callsOf(planner);
    const order = calls.filter((call, at) => calls.indexOf(call) === at);
    // What does not need each other goes side by side.
    const sequences = [
      ["b POST /restores/check", "b PUT /receives/:id/target", "a POST /transfers/:id/first-pass"],
      ["b POST /restores/check", "b POST /restores", "b GET /restores/:id"],
      ["b POST /restores/check", "a POST /transfers", "b POST /receives", "b PUT /receives/:id/target"],
      ["a POST /transfers", "b POST /pagers", "b GET /restores/:id"],
      ["a POST /transfers/:id/first-pass", "b GET /restores/:id", "a POST /checkpoints/:id/freeze"],
      ["b POST /restores/check", "a POST /checkpoints", "a POST /checkpoints/:id/freeze"],
      ["a POST /checkpoints/:id/freeze", "a POST /checkpoints/:id/dump", "b POST /restores/:id/resume"],
      ["a POST /checkpoints/:id/freeze", "a POST /transfers/:id/images", "b POST /restores/:id/resume"],
      ["a POST /checkpoints/:id/freeze", "a POST /transfers/:id/delta", "b POST /restores/:id/resume"],
      ["a POST /checkpoints/:id/freeze", "a POST /transfers/:id/memory", "b POST /restores/:id/resume"],
      ["a POST /checkpoints/:id/freeze", "b POST /pagers/:id/serve", "b POST /restores/:id/resume"],
      ["b POST /restores/:id/resume", "a POST /checkpoints/:id/commit"],
      ["b POST /restores/:id/resume", "b POST /restores/:id/finish"],
      ["b POST /restores/:id/resume", "b DELETE /pagers/:id"],
      ["b POST /restores/:id/resume", "a DELETE /transfers/:id"],
    ];
    for (const sequence of sequences) expect(order.filter((call) => sequence.includes(call))).toEqual(sequence);
    expect(calls).not.toContain("a POST /transfers/:id/image");
    expect(planner.world.violations).toEqual([]);
    expect(planner.world.isClean()).toBe(true);
    expect(planner.world.a.containers.get(sourceId)).toBe("stopped");
    expect(planner.world.b.restartPolicy).toBe("always");
    expect(planner.world.a.restartPolicy).toBe("no");
  });

  test("measures its stages and its downtime", async () => {
    await using planner = await createTestPlanner();
    const { id } = await planner.start();
    const { stages, downtimeMs = 0, totalMs = 0, bytesSent } = await planner.until(id);
    expect(stages.map(({ name }) => name).toSorted()).toEqual([
      "commit",
      "drain",
      "dump",
      "freeze",
      "plan",
      "prepare",
      "resume",
      "ship",
    ]);
    // The fake says that it has been frozen for 1.5 ms as it answers.
    expect(downtimeMs).toBeGreaterThan(1.5);
    expect(totalMs).toBeGreaterThan(downtimeMs);
    expect(bytesSent).toBe(4000);
  });

  test("sends the log before the freeze, after the resume, and when the source has ended", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile = {
      ...fakeProfile(),
      log: { bytes: 1000, rotatedBytes: 0, bytesPerSecond: 10, limited: false },
    };
    const { id } = await planner.start();
    expect(await planner.until(id)).toMatchObject({ phase: "committed", plan: { log: { bytes: 1000 } } });
    const log = "a POST /transfers/:id/log";
    const steps = ["a POST /checkpoints/:id/freeze", "b POST /restores/:id/resume", "a POST /checkpoints/:id/commit"];
    const order = callsOf(planner).filter((call) => call === log || steps.includes(call));
    expect(order).toEqual([log, ...steps.slice(0, 2), log, steps[2], log]);
    const rest = callsOf(planner).slice(callsOf(planner).lastIndexOf(log));
    expect(rest).toContain("b DELETE /receives/:id");
    expect(rest).toContain("a DELETE /transfers/:id");
  });

  test("sends what there is of a log that Docker rotates before the resume", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile = {
      ...fakeProfile(),
      log: { bytes: 1000, rotatedBytes: 0, bytesPerSecond: 10, limited: true },
    };
    const { id } = await planner.start();
    expect((await planner.until(id)).phase).toBe("committed");
    const log = "a POST /transfers/:id/log";
    const steps = ["a POST /checkpoints/:id/freeze", "b POST /restores/:id/resume", "a POST /checkpoints/:id/commit"];
    const order = callsOf(planner).filter((call) => call === log || steps.includes(call));
    expect(order).toEqual([log, log, steps[0], log, steps[1], log, steps[2], log]);
  });

  test("commits without the last lines of a log that can't be sent, and says so", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile = {
      ...fakeProfile(),
      log: { bytes: 1000, rotatedBytes: 0, bytesPerSecond: 10, limited: false },
    };
    const held = planner.b.hold("POST /restores/:id/resume");
    const { id } = await planner.start();
    await held.arrived;
    planner.a.fail("POST /transfers/:id/log", { kind: "problem", times: 2 });
    held.release();
    expect((await planner.until(id)).phase).toBe("committed");
    const events = await (await planner.request("GET", `/migrations/${id}/events?follow=false`)).text();
    expect(events.match(/the last lines of the container's log did not come to node b/g)?.length).toBeGreaterThan(0);
  });

  test("hybrid: sends memory before the freeze", async () => {
    await using planner = await createTestPlanner();
    const { id } = await planner.start({ mode: "hybrid" });
    expect((await planner.until(id)).phase).toBe("committed");
    const calls = callsOf(planner);
    expect(calls.indexOf("a POST /transfers/:id/precopy")).toBeGreaterThan(calls.indexOf("b POST /pagers"));
    expect(calls.indexOf("a POST /transfers/:id/precopy")).toBeLessThan(
      calls.indexOf("a POST /checkpoints/:id/freeze"),
    );
    expect(planner.world.violations).toEqual([]);
  });

  test("measures the link once, plans on by it, and remembers it for the next plan", async () => {
    await using planner = await createTestPlanner();
    // 10 Gbit/s, as a virtual link claims; it carries 1 Gbit/s.
    for (const { resources } of [planner.world.a, planner.world.b]) resources.linkMbitPerSecond = 10_000;
    const request = { container: "web", from: "a", to: "b", mode: "hybrid" };
    const dryRun = async (): Promise<Plan> =>
      planSchema.parse(await (await planner.request("POST", "/plans", request)).json());
    const before = await dryRun();
    expect(before).toMatchObject({ precopy: false, earlyPages: true });
    expect(before.reasons[0]).toBe(
      "link a -> b: 10 Gbit/s by what the interfaces say; a migration of 32 MiB or more measures it",
    );
    expect(planner.world.calls).not.toContain("a POST /transfers/:id/probe");

    const { id } = await planner.start({ mode: "hybrid" });
    const { phase, plan } = await planner.until(id);
    expect(phase).toBe("committed");
    expect(plan).toMatchObject({ precopy: true, earlyPages: false, streams: before.streams, chunkBytes: 64 * 1024 });
    expect(plan?.reasons[0]).toBe("link a -> b: 1 Gbit/s, measured just now");
    const calls = callsOf(planner);
    const order = [
      "b POST /receives",
      "a POST /transfers/:id/probe",
      "b POST /pagers",
      "a POST /transfers/:id/precopy",
    ];
    expect(calls.filter((call) => order.includes(call))).toEqual(order);

    planner.world.a.containers.set(sourceId, "running");
    planner.world.b.containers.clear();
    expect((await dryRun()).reasons[0]).toBe("link a -> b: 1 Gbit/s, measured just now");
    const again = await planner.start({ mode: "hybrid" });
    await planner.until(again.id);
    expect(callsOf(planner).filter((call) => call.endsWith("/probe"))).toHaveLength(1);
  });

  test("measures no link for what is small", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile = { ...fakeProfile(), memoryBytes: 1 << 20 };
    const { id } = await planner.start();
    const { phase, plan } = await planner.until(id);
    expect(phase).toBe("committed");
    expect(plan?.reasons[0]).toContain("unknown");
    expect(planner.world.calls).not.toContain("a POST /transfers/:id/probe");
  });

  test.each([
    ["has a large container wait for the probe", 512, false],
    ["measures the link of a smaller one while Docker works", 64, true],
  ])("%s", async (_what, megabytes, isSideBySide) => {
    await using planner = await createTestPlanner();
    planner.world.profile = { ...fakeProfile(), memoryBytes: megabytes << 20 };
    const probe = planner.a.hold("POST /transfers/:id/probe");
    const { id } = await planner.start();
    await probe.arrived;
    await delay(50);
    expect(planner.world.calls.includes("b POST /restores")).toBe(isSideBySide);
    expect(planner.world.calls).not.toContain("a POST /transfers/:id/first-pass");
    probe.release();
    expect((await planner.until(id)).phase).toBe("committed");
  });

  test("goes on without a measurement when the probe fails", async () => {
    await using planner = await createTestPlanner();
    planner.world.linkBytesPerSecond = undefined;
    const { id } = await planner.start({ mode: "hybrid" });
    expect((await planner.until(id)).phase).toBe("committed");
    const events = await (await planner.request("GET", `/migrations/${id}/events?follow=false`)).text();
    expect(events).toContain("was not measured: ");
    expect(planner.world.violations).toEqual([]);
  });

  test("a node that is registered anew is another machine: nothing is known of its links", async () => {
    await using planner = await createTestPlanner();
    await planner.until((await planner.start()).id);
    const { url, token } = planner.b;
    await planner.request("PUT", "/nodes/b", { agent: { url, token } });
    const response = await planner.request("POST", "/plans", { container: "web", from: "a", to: "b" });
    expect(planSchema.parse(await response.json()).reasons[0]).toContain("unknown");
  });

  test("stop-and-copy: resumes when all memory is there", async () => {
    await using planner = await createTestPlanner();
    const { id } = await planner.start({ mode: "stop-and-copy" });
    const migration = await planner.until(id);
    expect(migration).toMatchObject({ phase: "committed", mode: "stop-and-copy" });
    // The fake tells when a container is resumed too early.
    expect(planner.world.violations).toEqual([]);
  });

  test("sends the image when it is missing, and removes the source when asked", async () => {
    await using planner = await createTestPlanner();
    planner.world.b.hasImage = false;
    const { id } = await planner.start({ removeSource: true });
    expect((await planner.until(id)).phase).toBe("committed");
    expect(planner.world.calls.indexOf("a POST /transfers/:id/image")).toBeLessThan(
      planner.world.calls.indexOf("b POST /restores"),
    );
    expect(planner.world.a.containers.get(sourceId)).toBe("absent");
    await planner.crash();
    const store = openStore(planner.stateDir);
    expect(store.leftovers.find("a", "web")).toBeUndefined();
    store.close();
  });

  test("replaces what an earlier migration left at the destination, and notes what it leaves itself", async () => {
    await using planner = await createTestPlanner();
    await planner.crash();
    const earlier = "e".repeat(64);
    let store = openStore(planner.stateDir);
    store.leftovers.put({ node: "b", name: "web", containerId: earlier });
    store.close();
    planner.restart();
    const { id } = await planner.start();
    await planner.until(id, "draining", "committing", "committed");
    expect(planner.world.b.restores.get(id)?.replaces).toBe(earlier);
    await planner.until(id, "committed");
    await planner.crash();
    store = openStore(planner.stateDir);
    expect(store.leftovers.find("b", "web")).toBeUndefined();
    expect(store.leftovers.find("a", "web")).toBe(sourceId);
    store.close();
  });
});

describe("a request that cannot be", () => {
  test("is refused with every reason at once, and touches nothing", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile.refusals = [{ code: "privileged", message: "it is privileged" }];
    planner.world.profile.bindMounts = [{ source: "/srv", target: "/srv", directory: true }];
    planner.world.b.resources.docker.hasDmigrateRuntime = false;
    planner.world.b.refusals = [{ code: "name-taken", message: "there is a container web" }];
    const response = await planner.request("POST", "/migrations", { container: "web", from: "a", to: "b" });
    expect(response.status).toBe(422);
    const problem = (await response.json()) as { reasons: { code: string }[] };
    expect(problem.reasons.map(({ code }) => code)).toEqual(["privileged", "bind-mount", "no-runtime", "name-taken"]);
    expect(planner.world.calls.filter((call) => !call.includes(" GET ") && !call.endsWith("/check"))).toEqual([]);
    expect(await (await planner.request("GET", "/migrations")).json()).toEqual({ migrations: [] });
  });

  test("is shown by a dry run without an error", async () => {
    await using planner = await createTestPlanner();
    planner.world.profile.refusals = [{ code: "privileged", message: "it is privileged" }];
    const response = await planner.request("POST", "/plans", { container: "web", from: "a", to: "b" });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ refusals: [{ code: "privileged" }], shipImage: false });
  });

  test.each([
    [{ container: "web", from: "x", to: "b" }, 404, "there is no node x"],
    [{ container: "web", from: "b", to: "a" }, 404, "no such container"],
    [{ container: "web", from: "a", to: "b", colour: "red" }, 400, "colour: unknown field"],
    [{ container: "../etc", from: "a", to: "b" }, 400, "container"],
    [{ container: "web", from: "a", to: "a" }, 422, "already"],
  ])("%j is answered with %i", async (body, status, detail) => {
    await using planner = await createTestPlanner();
    const response = await planner.request("POST", "/migrations", body);
    expect(response.status).toBe(status);
    expect(((await response.json()) as { detail: string }).detail).toContain(detail);
  });

  test("names the node that refuses its token, and the one that does not answer", async () => {
    await using planner = await createTestPlanner();
    await planner.request("PUT", "/nodes/b", { agent: { url: planner.b.url, token: "another-token-0123" } });
    const refused = await planner.request("POST", "/migrations", { container: "web", from: "a", to: "b" });
    expect(refused.status).toBe(502);
    expect(((await refused.json()) as { detail: string }).detail).toContain("node b");
    await planner.request("PUT", "/nodes/b", { agent: { url: planner.b.url, token: planner.b.token } });
    await planner.b.down();
    const down = await planner.request("POST", "/migrations", { container: "web", from: "a", to: "b" });
    expect(down.status).toBe(503);
    expect(((await down.json()) as { detail: string }).detail).toContain("node b");
    await planner.b.up();
  });
});

describe("migrations side by side", () => {
  test("one per container: the second is a conflict, before and after the container was looked at", async () => {
    await using planner = await createTestPlanner();
    const held = planner.b.hold("POST /restores");
    const { id } = await planner.start();
    await held.arrived;
    for (const container of ["web", sourceId, sourceId.slice(0, 12)]) {
      const response = await planner.request("POST", "/migrations", { container, from: "a", to: "b" });
      expect(response.status).toBe(409);
      expect(((await response.json()) as { detail: string }).detail).toContain(id);
    }
    held.release();
    expect((await planner.until(id)).phase).toBe("committed");
  });

  test("two requests at the same instant: one is accepted", async () => {
    await using planner = await createTestPlanner();
    const body = { container: "web", from: "a", to: "b" };
    const responses = await Promise.all([1, 2, 3].map(() => planner.request("POST", "/migrations", body)));
    expect(responses.map(({ status }) => status).toSorted()).toEqual([202, 409, 409]);
  });

  test("a few per node", async () => {
    await using planner = await createTestPlanner({}, 1);
    const held = planner.b.hold("POST /restores");
    const { id } = await planner.start();
    await held.arrived;
    planner.world.profile = another(planner.world.profile);
    const response = await planner.request("POST", "/migrations", { container: "db", from: "a", to: "b" });
    expect(response.status).toBe(409);
    expect(await response.json()).toMatchObject({ reasons: [{ code: "node-busy" }] });
    held.release();
    await planner.until(id);
  });

  test("as many as the destination has room for", async () => {
    await using planner = await createTestPlanner();
    const { profile } = planner.world;
    planner.world.profile = { ...profile, memoryBytes: 2500 * 1024 * 1024 };
    const held = planner.b.hold("POST /restores");
    const { id } = await planner.start();
    await held.arrived;
    planner.world.profile = another(planner.world.profile);
    const request = { container: "db", from: "a", to: "b" };
    const response = await planner.request("POST", "/migrations", request);
    expect(response.status).toBe(409);
    expect(await response.json()).toMatchObject({ reasons: [{ code: "node-full" }] });
    const plan = (await (await planner.request("POST", "/plans", request)).json()) as { refusals: unknown[] };
    expect(plan.refusals).toMatchObject([{ code: "node-full" }]);
    held.release();
    await planner.until(id);
  });

  test("a node is not forgotten while a migration needs it", async () => {
    await using planner = await createTestPlanner();
    const held = planner.b.hold("POST /restores");
    const { id } = await planner.start();
    await held.arrived;
    expect((await planner.request("DELETE", "/nodes/b")).status).toBe(409);
    held.release();
    await planner.until(id);
    expect(await (await planner.request("DELETE", "/nodes/b")).json()).toEqual({ deleted: true });
    expect(await (await planner.request("DELETE", "/nodes/b")).json()).toEqual({ deleted: false });
  });
});
