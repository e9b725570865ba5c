/** Nothing of a container's memory is lost or changed on the way, whatever the container does with it. */
import type Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrationModeSchema } from "../../services/shared/contracts/planner.ts";
import { connectLab } from "../helpers/lab/connect.ts";
import type { LabNode } from "../helpers/lab/lab.ts";
import { loadServices, servicesImage } from "../helpers/lab/services-image.ts";
import { parseTorture, tortureCommand, type TortureReport } from "../helpers/memory-torture.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { equalPagesProgram, services, stressCommand, type Service } from "../helpers/services.ts";
import { startContainer } from "../helpers/workloads.ts";

describe("memory that moves", () => {
  const lab = connectLab();
  const { nodes } = lab;
  const user = new PlannerUser(lab.planner);
  const ways = [
    ["a", "b"],
    ["b", "a"],
  ] as const;
  const modes = migrationModeSchema.options;
  /** The first migration measures the link, with so much at most. */
  const probeBytes = 32_000_000;
  let image: string;

  const start = (name: string, command: readonly string[], port?: number): Promise<Docker.Container> =>
    startContainer(nodes.a, name, command, {
      Image: servicesImage,
      ...(port !== undefined && {
        ExposedPorts: { [`${port}/tcp`]: {} },
        HostConfig: { PortBindings: { [`${port}/tcp`]: [{ HostPort: String(port) }] } },
      }),
    });

  beforeAll(async () => {
    image = await loadServices(lab.outer, [nodes.a, nodes.b]);
  }, 600_000);
  afterAll(() => removeContainers([nodes.a, nodes.b]));

  // Twenty threads that never rest leave a machine with two processors little for the moves.
  const longTest = { timeout: 400_000 };
  it(
    "is right to the last byte after ten moves, of threads and processes that change it all the time",
    longTest,
    async () => {
      const name = "torture";
      await start(name, tortureCommand({ processes: 5, threads: 4, megabytes: 200, seed: Date.now() }));
      await pollUntil("a first sweep", 30_000, () => sweptTo(nodes.a, name, 1));
      for (let round = 0; round < 10; round += 1) {
        const [from, to] = ways[round % 2] ?? ways[0];
        const before = await reportOf(nodes[from], name);
        const mode = modes[round % modes.length];
        const migration = await user.migrate({ container: name, from, to, ...(mode !== undefined && { mode }) });
        expect(migration.pagesFaulted).toBeGreaterThan(0);
        // What was under way counts as well; the sweep after it has seen every byte here.
        const after = await pollUntil("two sweeps", 60_000, () => sweptTo(nodes[to], name, before.sweeps + 2));
        expect(after.wrong).toBe(0);
      }
      await nodes.a.docker.getContainer(name).remove({ force: true });
    },
  );

  it.each(services.map((service) => [service.name, service] as const))("is right: %s", async (name, service) => {
    await start(name, service.command, service.port);
    for (const [from, to] of ways) expect(await move(service, from, to)).toBeUndefined();
    await nodes.a.docker.getContainer(name).remove({ force: true });
  });

  it.each(modes)("of equal pages is sent once, and is right: %s", async (mode) => {
    const name = `equal-${mode}`;
    await start(name, ["node", "-e", equalPagesProgram], 8080);
    const ask = async ({ ip }: LabNode): Promise<string> =>
      (await fetch(`http://${ip}:8080/`, { signal: AbortSignal.timeout(20_000) })).text();
    const right = (node: LabNode): Promise<string | undefined> =>
      ask(node).then(
        (answer) => (answer === "wrong 0" ? answer : undefined),
        () => undefined,
      );
    await using cleanup = new AsyncDisposableStack();
    // Whatever failed, the next one needs its port.
    cleanup.defer(async () => {
      for (const { docker } of [nodes.a, nodes.b])
        await docker
          .getContainer(name)
          .remove({ force: true })
          .catch(() => undefined);
    });
    await pollUntil("an answer", 20_000, () => right(nodes.a));
    const { pagesEqual, pagesTotal, bytesSent } = await user.migrate({
      ...{ container: name, from: "a", to: "b", mode },
    });
    expect(await ask(nodes.b)).toBe("wrong 0");
    // Of 80 MiB that are pages over and over, few travel: those that are met before it is known that others are equal to them.
    const saved = 0.85 * 80 * 256;
    expect(pagesEqual).toBeGreaterThan(saved);
    expect(bytesSent - probeBytes).toBeLessThan((pagesTotal - saved) * 4096);
  });

  /** Moves a service under its load; answers what its check finds wrong afterwards. */
  const move = async (
    { name, port, prepare }: Service,
    from: "a" | "b",
    to: "a" | "b",
  ): Promise<string | undefined> => {
    let at = from;
    const prepared = await prepare({
      source: { host: nodes[from].ip, port },
      destination: { host: nodes[to].ip, port },
      outer: lab.outer,
      workloadImage: image,
      exec: async (command) => (await execIn(nodes[at].docker.getContainer(name), ["bash", "-c", command])).trim(),
    });
    const stopLoad = await prepared.startLoad();
    try {
      await user.migrate({ container: name, from, to });
      at = to;
    } finally {
      await stopLoad();
    }
    return prepared.findFault();
  };

  it("is right: stress-ng --vm --verify", async () => {
    const name = "stress";
    await start(name, stressCommand);
    for (const [from, to] of ways) await user.migrate({ container: name, from, to });
    const container = nodes.a.docker.getContainer(name);
    await container.kill({ signal: "SIGINT" });
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    const log = (await container.logs({ stdout: true, stderr: true })).toString();
    expect({ StatusCode, log }).toEqual({ StatusCode: 0, log: expect.not.stringMatching(/fail:/) as string });
  });

  /** Throws when the program says anything but that all is well. */
  async function reportOf(node: LabNode, container: string): Promise<TortureReport> {
    const frames = await node.docker.getContainer(container).logs({ stdout: true, stderr: true, tail: 1 });
    // Without a terminal each line has a header of 8 bytes.
    const line = frames.subarray(8).toString().trim();
    const report = parseTorture(line);
    if (report === undefined && line !== "") throw new Error(`the torture program: ${line}`);
    return report ?? { sweeps: 0, rounds: 0, wrong: 0 };
  }

  /** The report, once every thread has compared all of its memory so often, or has found something wrong. */
  async function sweptTo(node: LabNode, container: string, sweeps: number): Promise<TortureReport | undefined> {
    const report = await reportOf(node, container);
    return report.sweeps >= sweeps || report.wrong > 0 ? report : undefined;
  }
});
