/** `docker logs` at the destination has what was logged at the source, each line once and in order, and goes on. */
import type Docker from "dockerode";
import { afterEach, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

/** Logs a number every 10 ms, and beside it one to stderr now and then. */
const counting = `i=0; while :; do i=$((i+1)); echo $i; [ $((i%50)) != 0 ] || echo "err $i" >&2; sleep 0.01; done`;
/** Logs 400 of them at once, ten times a second: some are on their way to Docker at any moment. */
const bursts = "i=0; while :; do n=0; while [ $n != 400 ]; do n=$((n+1)); i=$((i+1)); echo $i; done; sleep 0.1; done";

describe("the log of a container that moves", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);

  afterEach(() => removeContainers([a, b]));

  const logOf = async (container: Docker.Container, tail: number | "all" = "all"): Promise<string[]> => {
    const answer = await container.logs({ stdout: true, stderr: true, follow: false, tail: tail as number });
    const lines: string[] = [];
    for (let at = 0; at < answer.length;) {
      const end = at + 8 + answer.readUInt32BE(at + 4);
      lines.push(answer.toString("utf8", at + 8, end).trimEnd());
      at = end;
    }
    return lines;
  };
  const numbersIn = (lines: readonly string[]): number[] =>
    lines.filter((line) => /^\d+/.test(line)).map((line) => Number.parseInt(line, 10));
  const countedTo = (last: number): number[] => Array.from({ length: last }, (_, at) => at + 1);
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  it("has every line once and in order, there and back", async () => {
    await startContainer(a, "counter", ["sh", "-c", counting]);
    await pause(1_000);
    for (const [from, to] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      const { id } = await user.migrate({ container: "counter", from, to });
      const container = lab.nodes[to].docker.getContainer("counter");
      await pause(500);
      const lines = await logOf(container);
      const numbers = numbersIn(lines);
      const last = numbers.at(-1) ?? 0;
      expect(last).toBeGreaterThan(100);
      expect(numbers).toEqual(countedTo(last));
      expect(lines.filter((line) => line.startsWith("err")).length).toBe(Math.floor(last / 50));
      expect(numbersIn(await logOf(container, 10)).length).toBeGreaterThan(8);
      expect((await user.get(id)).error).toBeUndefined();
    }
  });

  it.each([
    ["as they are", "false"],
    ["packed", "true"],
  ])("comes with the files that Docker has rotated, %s, while it rotates", async (_how, compress) => {
    const LogConfig = { Type: "json-file", Config: { "max-size": "300k", "max-file": "400", compress } };
    await startContainer(a, "bursts", ["sh", "-c", bursts], { HostConfig: { LogConfig } });
    await pause(2_000);
    for (const [from, to] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      await user.migrate({ container: "bursts", from, to, removeSource: true });
      await pause(500);
      const lines = await logOf(lab.nodes[to].docker.getContainer("bursts"));
      expect(lines.filter((line) => line.startsWith("dmigrate"))).toEqual([]);
      const numbers = numbersIn(lines);
      expect(numbers.length).toBeGreaterThan(4_000);
      expect(numbers).toEqual(countedTo(numbers.length));
    }
    const files = await a.exec(["sh", "-c", "ls /var/lib/docker/containers/*/"]);
    expect(files.stdout).toContain(compress === "true" ? "-json.log.3.gz" : "-json.log.3");
    expect(files.stdout).not.toContain(".dmigrate");
  });

  it("has a line that was half written at the freeze, though the source is removed", async () => {
    await startContainer(a, "half", ["sh", "-c", "echo whole; printf half; sleep 4; echo rest; sleep infinity"]);
    await pause(500);
    await user.migrate({ container: "half", from: "a", to: "b", removeSource: true });
    const container = b.docker.getContainer("half");
    await expect.poll(() => logOf(container), { timeout: 8_000 }).toEqual(["whole", "half", "rest"]);
  });

  it("stays behind, as the plan says, where Docker keeps none", async () => {
    const options = { HostConfig: { LogConfig: { Type: "none", Config: {} } } };
    await startContainer(a, "silent", ["sh", "-c", counting], options);
    const { plan } = await user.migrate({ container: "silent", from: "a", to: "b" });
    expect(plan?.log).toBeUndefined();
    expect(plan?.reasons.some((reason) => reason.startsWith("the log stays behind"))).toBe(true);
  });
});
