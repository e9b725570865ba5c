import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

describe("a container on Docker's own bridge and on a network that it was connected to later", () => {
  const lab = connectLab();
  const { nodes, planner } = lab;
  const { a, b } = nodes;
  const user = new PlannerUser(planner);
  const macAddress = "02:00:00:00:00:42";
  const driverOpts = { "org.example.option": "kept" };

  beforeAll(async () => {
    await lab.loadWorkload(b);
    for (const { docker } of [a, b]) await docker.createNetwork({ Name: "backend", Driver: "bridge" });
    await startContainer(a, "peer", ["sleep", "infinity"], { HostConfig: { NetworkMode: "backend" } });
    const container = await startContainer(a, "both", ["sleep", "infinity"], {
      MacAddress: macAddress,
      HostConfig: { RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 }, Memory: 256 << 20 },
    });
    await a.docker.getNetwork("backend").connect({
      Container: container.id,
      EndpointConfig: { Aliases: ["db"], Links: ["peer:friend"], DriverOpts: driverOpts },
    });
  });
  afterAll(async () => {
    await removeContainers([a, b]);
    for (const { docker } of [a, b]) await docker.getNetwork("backend").remove();
  });

  it("is refused where a container that it is linked to is not on that network", async () => {
    await expect(user.post({ container: "both", from: "a", to: "b" })).rejects.toMatchObject({
      reasons: [{ code: "links", message: expect.stringContaining("--link peer:friend") as string }],
    });
    await startContainer(b, "peer", ["sleep", "infinity"], { HostConfig: { NetworkMode: "backend" } });
  });

  it.each([
    ["a", "b"],
    ["b", "a"],
  ] as const)("is on both after the way from %s to %s", async (from, to) => {
    await user.migrate({ container: "both", from, to });
    const { NetworkSettings, HostConfig, State } = await nodes[to].docker.getContainer("both").inspect();
    const networks = NetworkSettings.Networks;
    expect(Object.keys(networks).sort()).toEqual(["backend", "bridge"]);
    expect(Object.values(networks).every(({ IPAddress }) => IPAddress !== "")).toBe(true);
    expect(networks["bridge"]?.MacAddress).toBe(macAddress);
    expect(networks["backend"]).toMatchObject({ Links: ["peer:friend"], DriverOpts: driverOpts });
    expect(networks["backend"]?.Aliases).toContain("db");
    expect(HostConfig.RestartPolicy).toEqual({ Name: "on-failure", MaximumRetryCount: 3 });
    expect(State.Running).toBe(true);
  });
});
